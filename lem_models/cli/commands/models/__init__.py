"""Commands about models as they are: list, export, publish."""
