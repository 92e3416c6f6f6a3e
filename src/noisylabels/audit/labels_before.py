"""The labels that trusted examples had before they were corrected, which narrow the noise rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def labels_before(
    asked: Mapping[str, Any], ids: Sequence[str], trusted: np.ndarray, class_names: Sequence[str]
) -> np.ndarray | None:
    """Return the labels of trusted examples in the data, (N,) int64, -1 where unknown; None without a file.

    The data are read again without the file of corrected labels, which replaced their labels.

    Args:
        asked: the settings of the audit, as in audit.json.
        ids: N ids of the audited set.
        trusted: (N,) bool.
        class_names: K names.
    """
    from noisylabels.audit.audited_data import config_of
    from noisylabels.experiment import load_sets

    if asked.get("labels") is None or asked.get("data") is None:
        return None
    of: dict[str, int] = {}
    twice: set[str] = set()
    for part in load_sets(config_of({**asked, "labels": None}), need_features=False):
        if tuple(part.class_names) != tuple(class_names):
            return None
        for name, label in zip(part.ids, part.labels.tolist(), strict=True):
            if of.setdefault(name, label) != label:
                twice.add(name)
    made = np.full(len(ids), -1)
    for i in np.flatnonzero(trusted).tolist():
        if ids[i] not in twice:
            made[i] = of.get(ids[i], -1)
    return made
