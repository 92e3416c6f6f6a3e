"""Write the transition matrix of CIFAR-10's human annotations, to draw class-conditional noise from it.

    python benchmarks/human_matrix.py CIFAR-10_human.pt --column worse --out cifar10n-worse.csv

Row i of the file is the distribution of the given labels of class i, so that `--noise matrix:FILE` draws
noise with the same rates between classes, but independent of the image.
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
    """Choose the annotations and the file of the matrix."""

    file: Annotated[Path, tyro.conf.Positional]
    """human annotations: the authors' file, or Parquet with the same columns"""
    column: str = "worse"
    """which label set: worse, aggre, random1, random2, random3"""
    out: Path = Path("cifar10n-worse.csv")
    """file for the matrix"""


def main(options: Options) -> None:
    labels = read_human(options.file, options.column)
    if labels.true is None:
        raise InputError(f"{options.file} has no clean labels beside {options.column}; the matrix needs both")
    size = int(max(labels.true.max(), labels.given.max())) + 1
    counts = np.bincount(labels.true * size + labels.given, minlength=size**2).reshape(size, size)
    matrix = counts / counts.sum(axis=1, keepdims=True)
    np.savetxt(options.out, matrix, delimiter=",", fmt="%.10f")
    rate = 1 - np.trace(counts) / counts.sum()
    print(f"noise rate {rate:.2%} over {counts.sum():,} labels; matrix in {options.out}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
