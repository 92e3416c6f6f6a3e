"""Features near the largest number of float32, whose squares are beyond it."""

from __future__ import annotations

import numpy as np
import pytest

import noisylabels as nl


@pytest.mark.parametrize("how", [{"classifier": "logistic"}, {"epochs": 1}])
@pytest.mark.parametrize("largest", [1e20, 1e30, 1e38])
def test_an_audit_of_large_features(how, largest):
    """Warnings are errors here: nothing overflows on the way."""
    draw = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = draw.normal(size=(40, 3)).astype(np.float32) + y[:, None]
    X[:, 0] *= 3  # of an ordinary size
    X[5, 1] = largest
    found = nl.audit_labels((X.astype(np.float32), y), folds=2, **how)
    rows = list(found.rows(40))
    assert len(rows) == 40
    assert all(0 <= row["score"] <= 1 for row in rows)
