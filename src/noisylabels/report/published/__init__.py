"""Published accuracies as data, each with its source: the paper's two tables, and the literature's.

`paper.csv` has the paper's 108 numbers, `literature.csv` what others have published, `sources.csv` how each
source is called for short and what its code does with noise and constants.
"""

from noisylabels.report.published.rows import Published, Source, published, read_rows, read_sources

__all__ = ["Published", "Source", "published", "read_rows", "read_sources"]
