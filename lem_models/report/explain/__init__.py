"""The picture of an explained decision."""
