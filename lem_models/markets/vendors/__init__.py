"""Files and tables of data vendors, brought to the columns of a table of bars."""
