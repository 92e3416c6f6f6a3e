"""Figures, tables and pages of given data, independent of losses, runs and studies."""
