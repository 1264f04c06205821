"""The zoo: which models there are, how they are read, written and published."""
