"""What a training loop of Lightning is given: callbacks, a progress bar, an end at a signal, and quiet."""
