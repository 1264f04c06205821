"""Commands about bars: fetch, check, convert."""
