"""The data of a run: its sets, and the noise added to the training set."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from noisylabels.core.checks import InputError
from noisylabels.experiment.config import RunConfig, source_of
from noisylabels.experiment.data_state import DataState
from noisylabels.experiment.reporter import Reporter, Silent
from noisylabels.experiment.resolve import ResolvedRun

if TYPE_CHECKING:
    import numpy as np

    from noisylabels.data.features import Examples
    from noisylabels.data.images import ImageSet
    from noisylabels.noise.labels import NoisyLabels
    from noisylabels.noise.spec import NoiseSpec


def load_sets(
    config: RunConfig, reporter: Reporter | None = None, need_features: bool = True
) -> tuple[Examples, Examples]:
    """Return the training and the test set of a configuration; the reporter receives their notes.

    `need_features` is that of `load`.

    Args:
        config: the configuration; its data and the settings of reading count.
        reporter: receives the notes.
        need_features: as for `load`.

    Raises:
        InputError: as `noisylabels.load`.
    """
    from noisylabels.data.catalog import load
    from noisylabels.encoders.catalog import load_size

    reporter = reporter or Silent()
    train, test = load(
        source_of(config),
        config.data_root,
        image_size=config.image_size,
        bad_images=config.bad_images,
        label_column=config.label_column,
        id_column=config.id_column,
        need_features=need_features,
        text_column=config.text_column,
        max_image_size=load_size(config.features),
        progress=reporter.decoding,
        download=config.download,
    )
    for note in dict.fromkeys(train.notes + test.notes):
        reporter.note(note)
    return (train, test) if config.labels is None else relabeled(config, train, test, reporter)


class _TakesLong(Exception):  # noqa: N818  not an error
    pass


class _Brief(Silent):
    """Ends the reading of a set after some seconds."""

    def __init__(self) -> None:
        self.until = time.monotonic() + 10

    def decoding(self, what: str, done: int, total: int) -> None:
        """Raise `_TakesLong` if the time is up."""
        if time.monotonic() > self.until:
            raise _TakesLong


def state_now(config: RunConfig) -> DataState | None:
    """Return the state of a configuration's data; None if they cannot be read, or not in 10 seconds."""
    try:
        return DataState.of(*load_sets(config, _Brief()))
    except (InputError, OSError, _TakesLong):
        return None


def relabeled(
    config: RunConfig, train: Examples, test: Examples, reporter: Reporter
) -> tuple[Examples, Examples]:
    """Return both sets with the labels of a configuration's file in place of their own.

    The original labels decided which examples are held out for testing; a correction does not move examples
    between the parts.
    """
    from noisylabels.data.corrections import LEFT_OUT, corrected, read_corrections, settled
    from noisylabels.data.names import namesakes_note

    assert config.labels is not None
    place = Path(source_of(config)).expanduser()
    folder = place if place.is_dir() else place.parent
    known = {
        name: label
        for part in (train, test)
        for name, label in zip(part.ids, part.labels.tolist(), strict=True)
    }
    found = read_corrections(config.labels, train.class_names, config.id_column)
    labels = settled(found, known, folder)
    new = corrected(train, labels), corrected(test, labels)
    out = sum(label == LEFT_OUT for label in labels.values())
    changed = sum(label not in (LEFT_OUT, known[name]) for name, label in labels.items())
    parts = [f"{changed:,} labels changed", f"{len(labels) - changed - out:,} unchanged"]
    parts += [f"{out:,} left out"] if out else []
    parts += [f"{len(known) - len(labels):,} not in it, and kept"] if len(known) > len(labels) else []
    twice = namesakes_note(labels, known)
    more = [] if twice is None else [f"{twice}, and keep their labels"]
    for note in (*found.notes, ", ".join(parts), *more):
        reporter.note(f"{config.labels}: {note}")
    return new


def corrupt_set(
    train: Examples,
    noise: str | NoiseSpec | object,
    *,
    seed: int = 0,
    pairs: Mapping[int, int] | None = None,
    test: Examples | None = None,
    data_root: str | Path | None = None,
    bad_images: str = "fail",
    download: bool = False,
    reporter: Reporter | None = None,
    id_column: str | None = None,
) -> tuple[Examples, NoisyLabels]:
    """Return a set with any noise added: noisy labels, removed examples, foreign images.

    Args:
        train: the set; its labels count as true (except those of foreign images that earlier noise added).
        noise: as for `corrupt`: "longtail:0.1 | openset:0.2@cifar100 | symmetric:0.4", or a matrix.
        seed: of the noise; see `corrupt`.
        pairs: your own confusion map; see `corrupt`.
        test: the test set, whose ids a file of labels may also contain.
        data_root, bad_images, download: as for `load`, for the data set of the foreign images.
        reporter: receives notes, and the progress of loading foreign images.
        id_column: the column of the ids in the data, if the user named it.

    Returns:
        The set to train on, and its labels: `fit(model, train, test, loss, labels=labels)`. It is `train`
        itself unless the noise removes examples or replaces images. Foreign images are the training images
        of their set, converted to the size and the colors of this one.

    Raises:
        InputError: as for `corrupt` and `load`; foreign images for a set that is not square, or from the set
            itself; asymmetric noise without a named map for classes named 0, 1, 2, ...

    >>> import noisylabels as nl
    >>> train, _ = nl.load("digits")
    >>> train, labels = corrupt_set(train, "longtail:0.1 | instance:0.3", seed=1)
    >>> len(train), labels
    (588, NoisyLabels('longtail:0.1 | instance:0.3', seed=1: 175 of 588 labels noisy (29.76 %), 10 classes))
    """
    from noisylabels.data.features import FeatureSet, subset_of
    from noisylabels.data.images import ImageSet, replaced
    from noisylabels.noise.corruption import corrupt
    from noisylabels.noise.spec import NoiseSpec

    if not isinstance(train, (ImageSet, FeatureSet)):
        raise InputError(
            f"train is a {type(train).__name__}, expected a training set (train, test = nl.load(...)); "
            "nl.corrupt takes labels alone"
        )
    spec = NoiseSpec.parse(noise) if isinstance(noise, str) else noise
    foreign = None
    if isinstance(spec, NoiseSpec) and spec.foreign:
        if not isinstance(train, ImageSet):
            raise InputError(
                f"{spec} adds foreign images, and {train.name} is a table of features; leave out openset"
            )
        foreign = _foreign(train, spec.foreign, data_root, bad_images, download, reporter or Silent())
    # Class names that are numbers carry no meaning, except for sets that are known to hold digits.
    numbered = train.class_names == tuple(str(k) for k in range(train.num_classes))
    notes: list[str] = []
    labels = corrupt(
        train.labels,
        spec,
        num_classes=train.num_classes,
        seed=seed,
        class_names=None if numbered and train.name not in NUMBERED else train.class_names,
        pairs=pairs,
        images=_seen(train, spec),
        ids=train.ids,
        foreign=None if foreign is None else len(foreign),
        others=() if test is None else test.ids,
        notes=notes,
        positions=train.positions,
        id_column=id_column,
    )
    for note in notes:
        (reporter or Silent()).note(note)
    if labels.index is not None:
        train = subset_of(train, labels.index)
    if foreign is not None and labels.foreign is not None and isinstance(train, ImageSet):
        train = replaced(train, labels.foreign, foreign)
    return dataclasses.replace(train, arranged=labels.arrangement) if labels.arrangement else train, labels


def _seen(train: Examples, spec: object) -> object:
    """Return the images or features for noise that depends on them; those in shards are decoded only then."""
    from noisylabels.data.pixel_source import in_memory
    from noisylabels.noise.spec import NoiseSpec, kind_of

    needed = isinstance(spec, NoiseSpec) and any(kind_of(stage).needs == "images" for stage in spec.stages)
    return in_memory(train.inputs, str(spec)) if needed else train.inputs


NUMBERED = ("digits", "mnist")
"""Data sets whose classes are digits and named by them."""


def _foreign(
    train: ImageSet,
    source: str,
    data_root: str | Path | None,
    bad_images: str,
    download: bool,
    reporter: Reporter,
) -> ImageSet:
    """Return the foreign images of a noise spec, in the size and the colors of the set."""
    from noisylabels.data.catalog import load
    from noisylabels.data.images import ImageSet, like

    height, width = train.images.shape[2:]
    if height != width:
        raise InputError(
            f"the images are {height}x{width}, and foreign images need square ones; load the set with "
            "an image size (--image-size)"
        )
    foreign, _ = load(
        source,
        data_root,
        image_size=height,
        bad_images=bad_images,
        progress=reporter.decoding,
        download=download,
    )
    if not isinstance(foreign, ImageSet):
        raise InputError(f"{source} is a table of features, expected a data set of images for foreign images")
    if foreign.digest == train.digest:
        raise InputError(f"the foreign images of {source} are those of the set itself; use another data set")
    both = sorted({*foreign.class_names} & {*train.class_names})
    if both:
        reporter.note(
            f"{foreign.name}, the source of foreign images, shares class names with this set: "
            + ", ".join(both)
        )
    return like(foreign, train)


def trained_on(config: RunConfig, train: Examples) -> np.ndarray | None:
    """Return the positions of the training examples that a configuration trains on; None for all.

    Noise is added to the whole set first, so an example has the same label as in a run on all examples.
    """
    from noisylabels.data.split import class_share

    if config.train_share == 1.0:
        return None
    return class_share(train.labels.numpy(), train.ids, config.train_share)


class RunSets(NamedTuple):
    """What a run trains and tests on.

    Args:
        train: the training set with noise added.
        test: the test set.
        labels: the noisy labels.
        state: of the data as they were read.
    """

    train: Examples
    test: Examples
    labels: NoisyLabels
    state: DataState


def corrupted(resolved: ResolvedRun, reporter: Reporter | None = None) -> RunSets:
    """Return the sets of a run.

    Noise is added to the images, and the sets are their features if the run has an encoder.

    Args:
        resolved: the run.
        reporter: receives notes and the progress of decoding and encoding.

    Raises:
        InputError: as `load_sets`; noise that does not fit the data.
    """
    from noisylabels.encoders.embedding import embed_sets

    config, reporter = resolved.config, reporter or Silent()
    train, test = load_sets(config, reporter)
    state = DataState.of(train, test)
    train, labels = corrupt_set(
        train,
        resolved.noise,
        seed=config.seed,
        test=test,
        data_root=config.data_root,
        bad_images=config.bad_images,
        download=config.download,
        reporter=reporter,
        id_column=config.id_column,
    )
    train, test = embed_sets(
        [train, test],
        config.features,
        device=config.device,
        progress=reporter.decoding,
        note=reporter.note,
    )
    return RunSets(train, test, labels, state)
