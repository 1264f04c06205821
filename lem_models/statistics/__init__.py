"""Statistics of tables of executed orders: data frames in, numbers out. Nothing here knows how orders are executed."""
