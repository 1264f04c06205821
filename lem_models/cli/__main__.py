"""``python -m lem_models.cli``: the command ``lem``."""

from lem_models.cli.app import main

if __name__ == "__main__":
    main()
