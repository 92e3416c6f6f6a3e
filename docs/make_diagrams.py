"""Draw docs/diagrams: the paper's Figures 1, 2 and 9, from the catalog's losses and the network's layers.

python docs/make_diagrams.py

Run it after a change of these losses or of the network; tests/paper/test_diagrams.py checks the files.
"""

from __future__ import annotations

from pathlib import Path

from noisylabels.core.files import make_folder
from noisylabels.paper.diagrams import diagrams
from noisylabels.report.diagram import draw_diagram

FOLDER = Path(__file__).parent / "diagrams"


def main() -> None:
    """Write one SVG per diagram."""
    make_folder(FOLDER)
    for diagram in diagrams():
        draw_diagram(diagram, FOLDER, (".svg",))


if __name__ == "__main__":
    main()
