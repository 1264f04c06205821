"""The commands of ``lem``: one file each, with the settings class that declares its options."""
