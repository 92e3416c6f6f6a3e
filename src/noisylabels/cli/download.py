"""``noisylabels download``: download a published data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from noisylabels.cli import output


@dataclass
class Download:
    """Download a published data set and verify its checksums.

    Running the same command again resumes an interrupted download.

    For example:
        noisylabels download cifar10
        noisylabels download mnist --root ~/data
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """cifar10, cifar100, mnist or fashion-mnist; see `noisylabels list data`"""
    root: Path | None = None
    """folder to download to (default: the one that NOISYLABELS_DATA names, or else downloads in the cache)"""

    def run(self) -> int:
        """Download, with progress in a terminal, and print the folder."""
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.data.catalog import download

        try:
            with TerminalReporter(epochs=0) as reporter:
                place = download(self.name, self.root, reporter.decoding)
        except KeyboardInterrupt:
            output.complain("stopped; run the same command again to resume")
            return 130
        output.say(f"{self.name} is in {place}")
        return 0
