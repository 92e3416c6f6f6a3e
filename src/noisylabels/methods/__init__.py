"""Training methods, one per file: each defines a training step."""
