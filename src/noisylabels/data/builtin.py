"""Data sets included in a dependency, so that everything can be tried without a download."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from noisylabels.core.positions import Positions
from noisylabels.data.image_decoding import resize_arrays
from noisylabels.data.images import ImageSet, image_set
from noisylabels.data.reader import Options
from noisylabels.data.split import hold_out


def digits(options: Options) -> tuple[ImageSet, ImageSet]:
    """Read scikit-learn's 1,797 handwritten digits, 8x8 gray pixels (UCI, Alpaydin and Kaynak 1998).

    The values 0..16 (pen-stroke pixels counted in blocks of 4x4) become round(value * 255 / 16). The set
    has no official split; 20% of each class are for testing, independent of the run's seed.

    Args:
        options: only `image_size` has an effect; the files are intact and the test part is fixed.

    Returns:
        1,438 training and 359 test examples, ids "digits:0" to "digits:1796" in scikit-learn's order.
    """
    images, labels, parts = _digits_arrays()
    if options.image_size is not None:
        images = resize_arrays(images, options.image_size)
    names = [str(k) for k in range(10)]
    train, test = (
        image_set(
            torch.from_numpy(images[part]),
            torch.from_numpy(labels[part]),
            names,
            [f"digits:{i}" for i in part],
            "digits",
            positions=Positions(part, len(labels), whole=False),
        )
        for part in parts
    )
    return train, test


@functools.cache
def _digits_arrays() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return pixels (1797, 1, 8, 8) uint8, labels (1797,) int64, and the positions of both parts; read-only.

    Reading takes 30 ms, as long as many an epoch on this set, and a study reads it once per run.
    """
    table = _digits_table()
    images = np.floor(table[:, :-1] * 255 / 16 + 0.5).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, -1].astype(np.int64)
    parts = hold_out(labels, [f"digits:{i}" for i in range(len(labels))], 0.2)
    for array in (images, labels, *parts):
        array.flags.writeable = False
    return images, labels, parts


def _digits_table() -> np.ndarray:
    """Return 64 pixels and the label per row, float64, as `sklearn.datasets.load_digits` reads them.

    The file is read directly where it lies, because importing scikit-learn takes longer than a short run.
    """
    found = find_spec("sklearn")  # find_spec("sklearn.datasets") would import the package
    file = Path(found.origin).parent / "datasets/data/digits.csv.gz" if found and found.origin else None
    if file is not None and file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    return np.column_stack([data, target])
