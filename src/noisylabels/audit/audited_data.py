"""The audited set: read again as the audit read it, and checked to be the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.fingerprints import numbered
from noisylabels.audit.result import Audit, read_head
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


def rows_can_move(audit: Audit) -> bool:
    """Return whether an id can come to name another example: ids are rows of the user's own data."""
    data = audit.summary.get("data")
    by_name = data is not None and not Path(data).is_absolute()  # as "digits", which nobody edits
    return not by_name and audit.summary.get("id_column") is None and numbered(audit.ids)


def check_rows(audit: Audit) -> None:
    """Raise an `InputError` if ids are rows and the data have other examples in these rows now.

    Labels are compared too, unless the audit took them from a file of corrected labels, which may have been
    written again since, or added noise: they are then not those of the data.
    """
    from noisylabels.data.features import subset_of, with_labels

    head = audit.summary
    if head["data"] is None or not Path(head["data"]).exists() or not rows_can_move(audit):
        return
    given = head.get("method", {}).get("probs") == "given"
    own, noise = {**head, "labels": None, "noise": "none"}, head["noise"]
    examples, _ = audited_set(own, by_rows="source_rows" in head, need_features=not given)
    places = {name: place for place, name in enumerate(examples.ids)}
    if all(name in places for name in audit.ids):
        examples = subset_of(examples, [places[name] for name in audit.ids])
        if head["labels"] is not None or noise != "none":
            examples = with_labels(examples, audit.given)
        if examples.digest == head["digest"]:
            return
    if noise != "none":  # which may replace images too
        load_examples(head)
        return
    raise InputError(
        f"{head['data']} has changed since it was audited, and rows without ids may have moved, so that "
        "decisions would reach other examples; restore the data, or audit them again with another --out"
    )


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
