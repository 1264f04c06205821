"""Fine-tuning: split, training run, verdict."""
