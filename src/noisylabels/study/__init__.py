"""Studies of many runs: a grid of configurations, executors that run them, and a store of the results."""

from noisylabels.study.exports import export
from noisylabels.study.grid import Cell, Study, load_study, studies
from noisylabels.study.store import Store, read_rows

__all__ = ["Cell", "Store", "Study", "export", "load_study", "read_rows", "studies"]
