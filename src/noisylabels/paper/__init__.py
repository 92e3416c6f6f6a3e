"""The replication of the seed paper: its claims, published accuracies, figures and studies.

Nothing but the command line imports this package, and the library works without it.
"""
