"""Running a desk as a process: where bars and fills come from, and requests of other processes."""
