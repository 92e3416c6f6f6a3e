"""Floor 0: checks, registry, configuration, random streams, files. Imports nothing else of the project."""
