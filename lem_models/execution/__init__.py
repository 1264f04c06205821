"""What trading means: policies, the simulator, the training objective, results."""
