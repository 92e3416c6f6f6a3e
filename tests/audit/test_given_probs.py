"""Audits of given probabilities: the same from every kind of array, and without a copy of a large file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import noisylabels as nl
from noisylabels.audit import issues, posterior, saved_probs
from noisylabels.audit.given_probs import digest, given_probs
from noisylabels.audit.probability_files import GivenProbs
from noisylabels.noise.noise_rate import JUDGES


def problem(n: int, K: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and float32 probabilities that are mostly right."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, K, n)
    probs = rng.random((n, K), dtype=np.float32) ** 8
    probs[np.arange(n), true] += K * 0.1
    probs /= probs.sum(axis=1, keepdims=True)
    return np.where(rng.random(n) < 0.1, rng.integers(0, K, n), true), probs


def test_all_kinds_of_arrays_give_the_same_audit(tmp_path: Path) -> None:
    labels, probs = problem(700, 5)
    np.save(tmp_path / "c.npy", probs)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(probs))
    expected = nl.audit_labels(labels=labels, probs=probs.astype(np.float64))
    kinds = [
        probs,
        probs.tolist(),
        torch.from_numpy(probs),
        np.load(tmp_path / "c.npy", mmap_mode="r"),
        np.load(tmp_path / "fortran.npy", mmap_mode="r"),
        tmp_path / "c.npy",
        str(tmp_path / "fortran.npy"),
    ]
    for given in kinds:
        found = nl.audit_labels(labels=labels, probs=given)
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-12)
        np.testing.assert_allclose(found.probs, expected.probs, rtol=1e-6)
        assert type(found.probs) is np.ndarray
        assert found.probs.dtype == np.float32
        for name in ("flagged", "suggested"):
            assert getattr(found, name).tolist() == getattr(expected, name).tolist()
        assert found.why == expected.why
        assert found.why[3:5] == list(found.why)[3:5]
        assert found.summary["rate"] == expected.summary["rate"]
        assert found.summary["transition"] == expected.summary["transition"]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalized(kind: torch.dtype) -> None:
    labels, probs = problem(700, 5)
    rounded = torch.from_numpy(probs).to(kind)
    values = rounded.double().numpy()
    found = nl.audit_labels(labels=labels, probs=rounded)
    expected = nl.audit_labels(labels=labels, probs=values / values.sum(axis=1, keepdims=True))
    assert found.flagged.tolist() == expected.flagged.tolist()
    assert found.summary["rate"] == expected.summary["rate"]
    np.testing.assert_allclose(found.probs.sum(axis=1), 1, atol=1e-6)


def test_the_identity_of_probabilities_is_that_of_their_float64_values() -> None:
    _, probs = problem(3000, 3)
    kinds = [
        probs,
        probs.astype(np.float64),
        np.asfortranarray(probs),
        probs.tolist(),
        torch.from_numpy(probs),
    ]
    assert len({digest(each) for each in kinds}) == 1
    assert digest([[0.25, 0.75]]) == "a084810e7c2a939ffa5af0a8540ded8acccd39d21be922c668a89bfaa4b98e9c"


def test_a_large_mapped_file_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n, K = 100_000, 200  # 80 MB as float32, 160 as float64
    made = np.lib.format.open_memmap(tmp_path / "p.npy", "w+", np.float32, (n, K))
    labels = np.empty(n, np.int64)
    for start in range(0, n, 20_000):
        part = slice(start, start + 20_000)
        labels[part], made[part] = problem(20_000, K, start)
    made.flush()
    monkeypatch.setattr(posterior, "MAPPED_BYTES", 1 << 20)
    monkeypatch.setattr(issues, "_MOST_DRAWS", 40)  # their matrices take 13 MB
    nl.audit_labels(labels=labels[:100] % 2, probs=np.full((100, 2), 0.5))  # imports
    tracemalloc.start()
    found = nl.audit_labels(labels=labels, probs=tmp_path / "p.npy", class_names=[str(k) for k in range(K)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 55e6, f"{peak / 1e6:.0f} MB"
    assert isinstance(found.probs, np.memmap)
    assert found.summary["rate"]["low"] < 0.1 < found.summary["rate"]["estimate"] + 0.01


def test_unnamed_columns_for_folders_of_numbers_that_sort_in_two_ways_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    for k, name in enumerate(("1", "2", "10", "9", "0")):
        for root in ("two", "one"):
            if root == "one" and name == "10":
                continue  # 0, 1, 2, 9: a single order
            (tmp_path / root / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (8, 8), (40 * k, 20 * i, 0)).save(tmp_path / root / name / f"{i}.png")
    truth = np.repeat(["0", "1", "10", "2", "9"], 4)  # the order of the sorted paths
    names = ["9", "10", "2", "1", "0"]
    frame = pd.DataFrame(np.where(truth[:, None] == names, 0.96, 0.01), columns=names)
    np.save(tmp_path / "p.npy", frame.to_numpy())
    for probs in (frame.to_numpy(), tmp_path / "p.npy"):
        with pytest.raises(ValueError, match=r"as text \(0, 1, 10, 2, 9\) or by value \(0, 1, 2, 9"):
            nl.audit_labels(tmp_path / "two", probs=probs)
    found = nl.audit_labels(tmp_path / "two", probs=frame)
    assert found.class_names == ("0", "1", "10", "2", "9")
    assert (found.probs.argmax(1) == found.given).all()
    four = np.eye(4).repeat(4, axis=0) * 0.96 + 0.01
    assert (nl.audit_labels(tmp_path / "one", probs=four).probs.argmax(1) == np.repeat(range(4), 4)).all()
    codes = np.repeat(range(5), 4)  # a caller who names the classes has told their order
    stated = nl.audit_labels(
        labels=codes, probs=np.eye(5)[codes] * 0.95 + 0.01, class_names=["0", "1", "10", "2", "9"]
    )
    assert not stated.flagged.any()


@pytest.mark.parametrize(("missing", "count"), [(None, 3), ("seen.parquet", 1)])
def test_class_names_reorder_all_that_an_audit_has_written(
    missing: str | None, count: int, tmp_path: Path
) -> None:
    labels, out = problem(400, 3)
    seen, network = problem(400, 3, seed=1)[1], problem(400, 3, seed=2)[1]
    names, ids = ("ant", "bee", "cat"), [f"i{k}" for k in range(400)]
    saved_probs.write_probs(tmp_path, ids, np.arange(400), names, out, seen, None, JUDGES, network)
    if missing is not None:
        (tmp_path / missing).unlink()

    def read(columns: tuple[str, ...] | None) -> GivenProbs:
        path = tmp_path / "probs.parquet"
        return given_probs(path, labels, names, ids, None, "x", lambda _: None, columns=columns)

    found = read(("cat", "ant", "bee"))
    assert found.rule == JUDGES
    assert found.of_audit
    values = [each for each in (found.probs.values, found.seen, found.network) if each is not None]
    assert len(values) == count
    for one, expected in zip(values, (out, seen, network), strict=False):
        np.testing.assert_array_equal(one, expected)


def test_class_names_in_another_order_give_the_same_audit(tmp_path: Path) -> None:
    texts = [
        f"the {word} was ripe and sweet, number {k}" for k, word in enumerate(["plum", "pear", "fig"] * 8)
    ]
    texts += [f"the {word} broke down, number {k}" for k, word in enumerate(["car", "van", "bus"] * 8)]
    data = pd.DataFrame({"text": texts, "label": ["fruit"] * 23 + ["vehicle"] * 25})
    data.to_csv(tmp_path / "t.csv", index=False)
    made = nl.audit_labels(tmp_path / "t.csv", features="tfidf:16", folds=2, epochs=4, out=tmp_path / "a")
    assert made.network is not None
    for names in (None, ["fruit", "vehicle"], ["vehicle", "fruit"]):
        found = nl.audit_labels(tmp_path / "t.csv", probs=tmp_path / "a" / "probs.parquet", class_names=names)
        assert found.summary["rate"] == made.summary["rate"]
        np.testing.assert_array_equal(found.score, made.score)
