"""Measurements of speed: each a ratio in one process against a named baseline, with n and spread."""
