"""Reports of benchmarks: in HTML, in the terminal and in Markdown."""
