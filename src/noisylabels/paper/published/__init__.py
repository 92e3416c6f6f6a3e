"""Published accuracies as data, each with its source: the paper's two tables, and those of the literature.

`paper.csv` has the paper's 108 accuracies, `literature.csv` those of losses in other publications,
`methods.csv` those of training methods, with the baselines of their tables, and
`sources.csv` one row per source: its short name, and the constants and noise conventions of its code.
"""

from noisylabels.paper.published.rows import Published, Source, published, read_rows, read_sources

__all__ = ["Published", "Source", "published", "read_rows", "read_sources"]
