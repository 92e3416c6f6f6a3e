"""``noisylabels embed``: write the features of a data set to a file."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from noisylabels.cli import output


@dataclass
class Embed:
    """Compute the features of a data set with a frozen pretrained encoder and write them with their ids.

    The features are stored as they are computed: the same command goes on after a stop, and every verb with
    the same --features uses them. The file can be the --features of `noisylabels audit` and `train`. Labels
    are not needed: the images may lie in one folder, and a table of texts may lack the column.

    For example:
        noisylabels embed photos/ --features efficientnet-lite0 --out features.npz
        noisylabels audit photos/ --features features.npz
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """as in `noisylabels train`"""
    out: Path
    """file for ids and features: .npz (arrays ids and features), .parquet (columns id and features) or .npy
    (features alone), in the order of the file or of the sorted paths"""
    features: str = "auto"
    """encoder: auto, or a name in `noisylabels list encoders`"""
    data_root: str | None = None
    """as in `noisylabels train`"""
    image_size: int | None = None
    """as in `noisylabels train`"""
    bad_images: str = "fail"
    """as in `noisylabels train`; skipped images have no features"""
    label_column: str | None = None
    """as in `noisylabels train`"""
    id_column: str | None = None
    """as in `noisylabels train`"""
    text_column: str | None = None
    """as in `noisylabels train`"""
    download: bool = False
    """as in `noisylabels train`"""
    device: str = "auto"
    """auto, cpu or cuda"""

    def run(self) -> int:
        """Embed, report progress in the terminal, and print what was written."""
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.encoders.embed_data import embed
        from noisylabels.encoders.store import stored_in

        keep_freed_memory()
        limit_threads()
        with TerminalReporter(1) as reporter:
            parts = embed(
                self.data,
                features=self.features,
                out=self.out,
                device=self.device,
                progress=reporter.decoding,
                note=reporter.note,
                root=self.data_root,
                image_size=self.image_size,
                bad_images=self.bad_images,
                label_column=self.label_column,
                id_column=self.id_column,
                text_column=self.text_column,
                download=self.download,
            )
        first = parts[0]
        assert first.embedding is not None
        count = sum(map(len, parts))
        name = first.embedding["name"]
        output.say(f"{first.name}: {count:,} examples, {first.features.shape[1]:,} features each, of {name}")
        output.say(f"wrote {self.out}")
        if (folder := stored_in(first.embedding)).exists():
            output.say(
                f"stored in {folder}, where every command with --features {shlex.quote(name)} finds them"
            )
        return 0
