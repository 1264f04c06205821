"""The event log of a desk: events, and the state that they fold to."""
