"""Training: recipes, batches of stretches, random orders, the training run."""
