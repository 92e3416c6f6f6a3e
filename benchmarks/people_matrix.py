"""Write the transition matrix of people's labels of CIFAR-10, for class-conditional noise like theirs.

    python benchmarks/people_matrix.py CIFAR-10_human.pt --column worse --out cifar10n-worse.csv

Row i of the file is the share of each label among the images of class i, so that `--noise matrix:FILE` draws
labels that go wrong as often, and into the same classes, but for any image of a class alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from noisylabels.core.checks import InputError
from noisylabels.noise.human import read_human


@dataclass
class Options:
    """Which labels, and where the matrix goes."""

    file: Annotated[Path, tyro.conf.Positional]
    """people's labels: the authors' file, or Parquet with the same columns"""
    column: str = "worse"
    """which of them: worse, aggre, random1, random2, random3"""
    out: Path = Path("cifar10n-worse.csv")
    """file for the matrix"""


def main(options: Options) -> None:
    labels = read_human(options.file, options.column)
    if labels.true is None:
        raise InputError(f"{options.file} has no clean labels beside {options.column}")
    size = int(max(labels.true.max(), labels.given.max())) + 1
    counts = np.bincount(labels.true * size + labels.given, minlength=size**2).reshape(size, size)
    matrix = counts / counts.sum(axis=1, keepdims=True)
    np.savetxt(options.out, matrix, delimiter=",", fmt="%.10f")
    print(
        f"{1 - np.trace(counts) / counts.sum():.2%} of {counts.sum():,} labels wrong; matrix in {options.out}"
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
