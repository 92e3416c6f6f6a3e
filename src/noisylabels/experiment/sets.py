"""The data of a run: its sets, and the noise that is made on the training set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError
from noisylabels.experiment.config import RunConfig
from noisylabels.experiment.reporter import Reporter, Silent

if TYPE_CHECKING:
    from noisylabels.data.images import ImageSet
    from noisylabels.noise.labels import NoisyLabels


def load_sets(config: RunConfig, reporter: Reporter | None = None) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set that a configuration names; their notes go to the reporter."""
    from noisylabels.data.catalog import load

    reporter = reporter or Silent()
    train, test = load(
        config.data,
        config.data_root,
        image_size=config.image_size,
        bad_images=config.bad_images,
        progress=reporter.decoding,
        download=config.download,
    )
    for note in dict.fromkeys(train.notes + test.notes):
        reporter.note(note)
    return train, test


def corrupt_set(
    train: ImageSet,
    noise: str,
    *,
    seed: int = 0,
    data_root: str | Path | None = None,
    bad_images: str = "fail",
    download: bool = False,
    reporter: Reporter | None = None,
) -> tuple[ImageSet, NoisyLabels]:
    """Make any noise on a set: draw its labels, leave examples out, put foreign images in.

    Args:
        train: the set; its labels are the true ones.
        noise: as for `corrupt`, such as "longtail:0.1 | openset:0.2@cifar100 | symmetric:0.4".
        seed: of the noise; see `corrupt`.
        data_root, bad_images, download: as for `load`, for the data set that foreign images come from.
        reporter: told of the notes and the progress of its loading.

    Returns:
        The set to train on, and its labels: `fit(model, train, test, loss, labels=labels)`. It is `train`
        itself unless the noise changes which examples or images there are. Foreign images are the training
        images of their set, brought to the size and the colours of this one.

    Raises:
        InputError: as for `corrupt` and `load`; foreign images for a set that is not square.

    >>> import noisylabels as nl
    >>> train, _ = nl.load("digits")
    >>> train, labels = corrupt_set(train, "longtail:0.1 | instance:0.3", seed=1)
    >>> len(train), labels
    (588, NoisyLabels('longtail:0.1 | instance:0.3', seed=1: 178 of 588 labels wrong (30.27 %), 10 classes))
    """
    from noisylabels.data.catalog import load
    from noisylabels.data.images import like, replaced, subset
    from noisylabels.noise.corruption import corrupt
    from noisylabels.noise.spec import NoiseSpec

    reporter = reporter or Silent()
    spec = NoiseSpec.parse(noise)
    foreign = None
    if spec.foreign:
        height, width = train.images.shape[2:]
        if height != width:
            raise InputError(
                f"the images are {height}x{width}, and foreign images are brought to squares; "
                "give --image-size"
            )
        foreign, _ = load(
            spec.foreign,
            data_root,
            image_size=height,
            bad_images=bad_images,
            progress=reporter.decoding,
            download=download,
        )
        foreign = like(foreign, train)
    labels = corrupt(
        train.labels,
        spec,
        seed=seed,
        class_names=train.class_names,
        images=train.images,
        ids=train.ids,
        foreign=None if foreign is None else len(foreign),
    )
    if labels.index is not None:
        train = subset(train, labels.index)
    if foreign is not None and labels.foreign is not None:
        train = replaced(train, labels.foreign, foreign)
    return train, labels


def corrupted(config: RunConfig, reporter: Reporter | None = None) -> tuple[ImageSet, ImageSet, NoisyLabels]:
    """Return the sets that a configuration names, noise made on the first, and its labels."""
    train, test = load_sets(config, reporter)
    train, labels = corrupt_set(
        train,
        config.noise,
        seed=config.seed,
        data_root=config.data_root,
        bad_images=config.bad_images,
        download=config.download,
        reporter=reporter,
    )
    return train, test, labels
