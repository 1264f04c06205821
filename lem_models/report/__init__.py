"""What a benchmark measured, as HTML, in a terminal and as Markdown."""
