"""Studies: many runs of one question. A grid of configurations, who carries them out, where they are kept."""

from noisylabels.study.grid import Cell, Study, load_study, studies
from noisylabels.study.store import Store, export, read_rows

__all__ = ["Cell", "Store", "Study", "export", "load_study", "read_rows", "studies"]
