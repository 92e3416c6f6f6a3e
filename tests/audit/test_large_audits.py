"""Audits of sets larger than memory: in blocks and mapped files they give what they give in memory."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

import noisylabels as nl
from noisylabels.audit import (
    cross_validation,
    fold_files,
    posterior,
    result,
    saved_probs,
    training_dynamics,
    votes,
)
from noisylabels.audit.cross_validation import cross_validate
from noisylabels.audit.neighbors import find_neighbors
from noisylabels.core import large_arrays
from noisylabels.core.large_arrays import large_array
from noisylabels.data.features import feature_set
from noisylabels.noise.checked_probs import CheckedProbs, Computed

N, K = 90, 4


@pytest.fixture
def in_blocks(monkeypatch):
    """Make every block small, and map every array from a file."""

    def begin():
        monkeypatch.setattr(large_arrays, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(posterior, "COMPUTED_BYTES", 0)
        monkeypatch.setattr(saved_probs, "_BLOCK_BYTES", 0)
        monkeypatch.setattr(saved_probs, "_LEAST_ROWS", 7)
        monkeypatch.setattr(result, "_ROWS_AT_ONCE", 11)
        for module in (cross_validation, fold_files, training_dynamics):
            monkeypatch.setattr(module, "_ROWS", 13)

    return begin


def problem(seed=0):
    """Return rows, their labels and probabilities; some labels are wrong."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, K, N)
    X = draw.normal(size=(N, 6)).astype(np.float32) + 3 * np.eye(K, 6, dtype=np.float32)[true]
    probs = draw.random((N, K)) + 3 * np.eye(K)[true]
    given = np.where(draw.random(N) < 0.1, (true + 1) % K, true)
    return X, given, probs / probs.sum(axis=1, keepdims=True)


def same(a, b):
    for name in ("score", "suggested", "flagged", "probs", "out_of_fold", "seen", "network"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)
    assert list(a.why) == list(b.why)
    assert a.neighbors == b.neighbors


@pytest.mark.parametrize("kind", ["probs", "rows", "embedded"])
def test_an_audit_in_blocks_equals_that_in_memory(kind, in_blocks, tmp_path):
    X, given, probs = problem()
    rows = feature_set(X, given, [f"class {k}" for k in range(K)])
    if kind == "embedded":  # with the judges of a frozen encoder's features
        rows = rows.__class__(**{**vars(rows), "embedding": {"name": "test"}})
    how = {"probs": probs} if kind == "probs" else {"epochs": 2, "folds": 3}
    before = nl.audit_labels(rows, out=tmp_path / "before", **how)
    in_blocks()
    after = nl.audit_labels(rows, out=tmp_path / "after", **how)
    same(before, after)
    assert isinstance(after.probs, np.memmap)
    assert (after.rule == "posterior") == (kind == "embedded")
    for name in ("labels.csv", "labels.json"):
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()
    for path in (tmp_path / "before").glob("*.parquet"):
        assert pq.read_table(path).equals(pq.read_table(tmp_path / "after" / path.name)), path.name
    assert pq.ParquetFile(tmp_path / "after" / "probs.parquet").num_row_groups == -(-N // 7)
    same(nl.Audit.load(tmp_path / "before"), after)


def test_judges_in_blocks_agree_with_those_in_memory(monkeypatch):
    X, given, _ = problem()
    before = votes.ridge_probs(X, given, K)
    monkeypatch.setattr(votes, "_ROWS", 13)
    monkeypatch.setattr(votes, "_BLOCK", N * 7)
    np.testing.assert_allclose(votes.ridge_probs(X, given, K), before, atol=1e-5)  # other sums of products
    once = votes.neighbor_votes(X, given, K, dtype=np.float32)
    np.testing.assert_allclose(once, votes.neighbor_votes(X, given, K), atol=1e-7)


def test_folds_are_added_and_read_back_some_rows_at_a_time(monkeypatch, tmp_path):
    X, given, _ = problem()
    rows = feature_set(X, given, [f"class {k}" for k in range(K)])
    before = cross_validate(rows, folds=3, epochs=1)
    monkeypatch.setattr(large_arrays, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(cross_validation, "_ROWS", 4)
    monkeypatch.setattr(fold_files, "_ROWS", 4)
    monkeypatch.setattr(training_dynamics, "_ROWS", 4)
    for _ in range(2):  # trained, and read from the folder
        after = cross_validate(rows, folds=3, epochs=1, folder=tmp_path)
        for name in ("probs", "seen", "margin", "loss", "agreement", "features"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)


def test_probabilities_that_are_computed_read_as_an_array():
    _, given, probs = problem()
    array = CheckedProbs(probs, "probs")
    computed = CheckedProbs(Computed((N, K), lambda rows: probs[rows]), "probs")
    some = np.array([5, 3, 60])
    np.testing.assert_array_equal(np.asarray(computed), np.asarray(array))
    np.testing.assert_array_equal(computed.at(given), array.at(given))
    np.testing.assert_array_equal(computed.take(some), array.take(some))
    np.testing.assert_array_equal(np.asarray(computed.part(some)), np.asarray(array.part(some)))
    np.testing.assert_array_equal(computed.part(some).part(np.array([2])).take([0]), array.take([60]))
    np.testing.assert_array_equal(array.single(), np.asarray(array).astype(np.float32))


def test_neighbors_are_those_of_centered_rows_of_length_one():
    X, given, _ = problem()
    found = find_neighbors(np.array([4]), given, given, np.ones(N), np.zeros(N, bool), X)
    rows = X - X.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    others = [i for i in np.flatnonzero(given == given[4]).tolist() if i != 4]
    assert found[4][0] == sorted(others, key=lambda i: -float(rows[i] @ rows[4]))[:6]


def test_large_arrays_are_mapped_from_a_file_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path))
    made = large_array((3, 5), np.float64, most_bytes=100)
    made[:] = 7
    assert isinstance(made, np.memmap)
    assert (made.shape, made.dtype, float(made.sum())) == ((3, 5), np.float64, 105)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert not isinstance(large_array((3, 5), np.float32, most_bytes=100), np.memmap)
