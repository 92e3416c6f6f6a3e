"""Reports: figures of what they are handed; they know nothing of losses, runs or studies."""
