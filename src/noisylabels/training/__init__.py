"""Training: one loop, its updates, metrics, callbacks and checkpoints; no loss, model or data set."""
