"""When a market trades: calendars, how they are inferred, and the grid of bars."""
