"""``noisylabels noise``: what a label noise does to the labels of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

MOST_CLASSES = 20  # a larger matrix does not fit a terminal


@dataclass
class Noise:
    """Corrupt the labels of a data set and show the matrix that came of it.

    noisylabels noise asymmetric:0.4 --data digits
    """

    spec: Annotated[str, tyro.conf.Positional]
    """such as symmetric:0.4, asymmetric:0.4, symmetric:0.4@exact; see `noisylabels list noise`"""
    data: str = "digits"
    """as in `noisylabels train`"""
    data_root: str | None = None
    """folder that holds cifar10"""
    image_size: int | None = None
    """as in `noisylabels train`"""
    bad_images: str = "fail"
    """as in `noisylabels train`: which images are read decides which labels there are"""
    seed: int = 0
    """of the noise; a run with this seed trains on these labels"""
    out: Path | None = None
    """Parquet file for the labels: given, true, flipped"""

    def run(self) -> int:
        """Print rate and matrix."""
        from noisylabels.cli.terminal import TerminalReporter, console, matrix, table
        from noisylabels.experiment import RunConfig, corrupted

        config = RunConfig(
            data=self.data,
            data_root=self.data_root,
            image_size=self.image_size,
            bad_images=self.bad_images,
            noise=self.spec,
            seed=self.seed,
        )
        with TerminalReporter(config.epochs) as reporter:
            train, labels = corrupted(config, reporter)
        if self.out is not None:  # before anything is printed, which a closed pipe may cut short
            labels.save(self.out.expanduser())
        wrong = int(labels.flipped.sum())
        console().print(
            f"{train.name}, {labels.spec}, seed {labels.seed}: {wrong} of {len(labels)} labels wrong "
            f"({100 * labels.rate:.2f} %); share of each true class given each label, per cent",
            markup=False,
        )
        names = train.class_names
        if len(names) <= MOST_CLASSES:
            console().print(matrix(labels.realised.tolist(), names))
        else:
            counts = labels.counts
            pairs = [
                (int(counts[i, j]), i, j) for i in range(len(names)) for j in range(len(names)) if i != j
            ]
            rows = [
                [names[i], names[j], str(n), f"{100 * labels.realised[i, j]:.1f} %"]
                for n, i, j in sorted(pairs, reverse=True)[:MOST_CLASSES]
                if n
            ]
            console().print(f"the {len(rows)} most frequent of {len(names)} x {len(names)}:", markup=False)
            console().print(table(["true", "given", "examples", "share"], rows))
        if self.out is not None:
            print(f"labels in {self.out}")
        return 0
