"""Write a tenth of CIFAR-10 as features, with human annotations, for the studies of methods on features.

    noisylabels embed FOLDER/cifar10-jpeg --features efficientnet-lite0@160 --out lite0-160.npz
    python benchmarks/method_sets.py lite0-160.npz --data FOLDER/cifar10-jpeg --human FOLDER/cifar10n.parquet

The training images are the 5,000 that `train_share = 0.1` chooses, the same share of each class; of the test
images a fifth of each class is kept, 2,000. Written are features-tenth.npz, and cifar10n-tenth.parquet with
the annotations of the 5,000 images. A study on these files reads no images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tyro
from embedded_sets import embedded_sets

from noisylabels.data.split import class_share

NAMES = np.array(
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]  # in order
)


@dataclass
class Options:
    """Choose what is read and where the sets go."""

    features: tyro.conf.Positional[Path]
    """features of CIFAR-10 with the ids of the images, written by `noisylabels embed`"""
    data: str
    """CIFAR-10 in its original order, whose labels are read"""
    human: Path
    """the annotations of CIFAR-10N for the same 50,000 images, as Parquet"""
    out: Path = Path("sets")
    """folder of the two files"""
    share: float = 0.1
    """share of each class of the training images"""
    test_share: float = 0.2
    """share of each class of the test images"""


def main(options: Options) -> None:
    """Write both files."""
    sets, (rows, test_rows) = embedded_sets(options.data, options.features)
    labels, test_labels = (part.labels.numpy() for part in sets)
    chosen = class_share(labels, [f"train:{row}" for row in range(len(labels))], options.share)
    tested = class_share(test_labels, [f"test:{row}" for row in range(len(test_labels))], options.test_share)
    annotations = pq.read_table(options.human)
    if not np.array_equal(annotations["clean_label"].to_numpy(), labels):
        raise SystemExit(f"the rows of {options.human} are not those of {options.features}")
    options.out.mkdir(parents=True, exist_ok=True)
    np.savez(
        options.out / "features-tenth.npz",
        X_train=rows[chosen],
        y_train=NAMES[labels[chosen]],
        X_test=test_rows[tested],
        y_test=NAMES[test_labels[tested]],
    )
    pq.write_table(annotations.take(chosen), options.out / "cifar10n-tenth.parquet")
    print(f"wrote {len(chosen):,} training and {len(tested):,} test examples to {options.out}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
