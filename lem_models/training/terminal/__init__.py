"""What a training shows on the terminal: its progress, and none of the chatter of Lightning."""
