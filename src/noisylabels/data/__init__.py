"""Data: image sets from names, folders and files, and the batches that a training loop draws from them."""
