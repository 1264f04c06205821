"""Commands of live orders."""
