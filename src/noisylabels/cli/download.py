"""``noisylabels download``: get a published data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Download:
    """Download a published data set, checked by its checksums; a download that broke off goes on.

    noisylabels download cifar10

    noisylabels download mnist --root ~/data
    """

    name: Annotated[str, tyro.conf.Positional]
    """cifar10, cifar100, mnist, fashion-mnist; see `noisylabels list data`"""
    root: Path | None = None
    """folder for it (default: the one that NOISYLABELS_DATA names, else downloads in the cache)"""

    def run(self) -> int:
        """Download, with progress in a terminal, and say where it lies."""
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.data.catalog import download

        try:
            with TerminalReporter(epochs=0) as reporter:
                place = download(self.name, self.root, reporter.decoding)
        except KeyboardInterrupt:
            print("noisylabels: stopped; the same command goes on from there", file=sys.stderr)
            return 130
        print(f"{self.name} is in {place}")
        return 0
