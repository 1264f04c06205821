"""The zoo and the Hub: list, read, write and publish models and data sets."""
