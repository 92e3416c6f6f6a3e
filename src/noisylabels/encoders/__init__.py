"""Frozen encoders, their preprocessing, and the stored features of examples."""
