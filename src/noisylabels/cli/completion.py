"""``noisylabels completion``: what a shell needs to complete commands and flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


@dataclass
class Completion:
    """Print a completion script for your shell.

    noisylabels completion bash > ~/.local/share/bash-completion/completions/noisylabels
    """

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]
    """the shell"""

    def run(self) -> int:
        """Print the script; tyro writes it and ends the program."""
        from noisylabels.cli.parser import every_verb

        tyro.cli(
            every_verb(),
            prog="noisylabels",
            args=["--tyro-print-completion", self.shell],
            config=(tyro.conf.OmitArgPrefixes,),
        )
        return 0
