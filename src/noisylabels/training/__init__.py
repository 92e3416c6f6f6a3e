"""Training: one loop, its step, its metrics, its checkpoints. Knows no loss, model or data set by name."""
