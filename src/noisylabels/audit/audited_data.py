"""The audited set: read again as the audit read it, and checked to be the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.result import read_head
from noisylabels.core.checks import InputError

if TYPE_CHECKING:
    from noisylabels.data.features import Examples
    from noisylabels.experiment import RunConfig
    from noisylabels.experiment.reporter import Reporter


def load_examples(audit: Mapping[str, Any] | Path | str, reporter: Reporter | None = None) -> Examples:
    """Return the audited set: its examples in their order, with their given labels.

    Args:
        audit: the folder of an audit, its audit.json, or the content of that file.
        reporter: receives notes and progress.

    Raises:
        InputError: the data were arrays, no longer exist, or have changed since.
    """
    if isinstance(audit, (str, Path)):
        path = Path(audit).expanduser()
        head: Mapping[str, Any] = read_head(path if path.is_dir() else path.parent)
    else:
        head = audit
    if head.get("data") is None:
        raise InputError(
            f"the data of the audit {head['name']!r} were arrays, which its folder does not store; "
            "audit a folder, a table or a named data set to load them again"
        )
    given = head.get("method", {}).get("probs") == "given"
    rows = "source_rows" in head
    examples, _ = audited_set(head, reporter, by_rows=rows, need_features=not given)
    if examples.digest != head["digest"]:
        raise InputError(
            f"{head['data']} has changed since it was audited; restore the data, or run `noisylabels audit` "
            "again with another --out"
        )
    return examples


def config_of(asked: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that reads the data of an audit; see `audited_set`."""
    from noisylabels.experiment import load_config

    names = (
        *("data", "data_root", "image_size", "bad_images", "label_column", "id_column", "text_column"),
        *("noise", "seed", "labels", "download"),
    )
    known = {name: asked[name] for name in names if asked.get(name) is not None}
    return load_config(None, **known, features=asked.get("features", "none"))


def audited_set(
    asked: Mapping[str, Any],
    reporter: Reporter | None = None,
    by_rows: bool = True,
    need_features: bool = True,
) -> tuple[Examples, np.ndarray | None]:
    """Return the set to audit, in the order of its rows, and its true labels if noise is added.

    Args:
        asked: data, data_root, image_size, bad_images, part, noise, seed, labels, features, as in
            audit.json. The set is of images or rows, not of their features.
        reporter: receives notes and progress.
        by_rows: False for the order of format 1: training part, then test part.
        need_features: as in `load`; False for an audit of given probabilities.
    """
    from noisylabels.data.features import joined, subset_of, with_labels
    from noisylabels.experiment import corrupt_set, load_sets

    config = config_of(asked)
    train, test = load_sets(config, reporter, need_features)
    examples = joined(train, test, by_rows) if asked["part"] == "all" else train
    rows = examples.rows
    if by_rows and rows is not None and (np.diff(rows) < 0).any():
        examples = subset_of(examples, np.argsort(rows))
    if asked["noise"] == "none":
        return examples, None
    examples, labels = corrupt_set(
        examples,
        config.noise,
        seed=config.seed,
        data_root=config.data_root,
        bad_images=config.bad_images,
        download=config.download,
        reporter=reporter,
        id_column=config.id_column,
    )
    return with_labels(examples, labels.given), labels.true
