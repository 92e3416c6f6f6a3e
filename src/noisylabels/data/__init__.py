"""Data: image and feature sets from names, files, folders and objects, and batches for the training loop."""
