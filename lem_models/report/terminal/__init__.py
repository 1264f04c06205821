"""What the terminal needs beside tables: its width, progress bars. Nothing here waits for pandas."""
