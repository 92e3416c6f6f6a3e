"""Floor 0: checks, registry, configuration, random streams, files. Imports nothing of the project."""
