"""What an audit concludes: the same rate everywhere, from the labels that count, and again from its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisylabels as nl
from noisylabels.audit.assessment import assess
from noisylabels.audit.posterior import JUDGES, NETWORK, RULES, calibrated, judged
from noisylabels.audit.result import Audit
from noisylabels.core.checks import InputError
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.noise_model import NoiseModels
from noisylabels.noise.noise_rate import evidence, noise_rate

QUICK = {"model": "mlp", "width": 0.2, "epochs": 4, "folds": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


def problem(n: int = 300, K: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return given labels, probabilities out of fold, and during training."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, K, n)
    given = np.where(draw.random(n) < 0.2, draw.integers(0, K, n), true)
    p, seen = draw.dirichlet(np.full(K, 0.5), (2, n)) * 0.6
    p[np.arange(n), true] += 0.4
    seen[np.arange(n), given] += 0.4
    return given, p, seen


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("trained", [False, True])
def test_known_labels_do_not_count_for_rate_and_noise_model(rule: str, trained: bool) -> None:
    given, p, seen = problem()
    known = np.arange(300) % 3 == 0
    given[known] = (p[known].argmax(axis=1) + 1) % 3  # contradicted, all of them
    found = assess(given, p, seen if trained else None, rule, known)
    of, inside = CheckedProbs(p[~known], "probs"), seen[~known] if trained else None
    models = NoiseModels(given[~known], of)
    within = None if inside is None else CheckedProbs(inside, "seen")
    assert found.rate == noise_rate(evidence(given[~known], of, within, models), rule)
    assert found.agreement == (p[~known].argmax(axis=1) == given[~known]).mean()
    assert found.counted == 200
    middle, *ends = (
        found.agreement / (1 - rate) for rate in (found.rate.estimate, found.rate.low, found.rate.high)
    )
    assert found.accuracy[0] == pytest.approx(min(1.0, middle))
    # the ends are beyond those that the rate alone gives, by about the error of a share of 200
    error = 1.96 * (found.agreement * (1 - found.agreement) / 200) ** 0.5 / (1 - found.rate.estimate)
    for share, end, sign in zip(found.accuracy[1:], ends, (-1, 1), strict=True):
        assert share == pytest.approx(min(1.0, middle + sign * np.hypot(end - middle, error)), abs=0.01)
    assert found.posterior.wrong[~known].mean() == pytest.approx(max(found.rate.estimate, 0.5 / 200))
    alone = assess(given[~known], p[~known], inside, rule)
    assert alone.rate == found.rate
    np.testing.assert_allclose(found.posterior.whole()[~known], alone.posterior.whole(), atol=1e-9)
    # the known ones have a posterior too, by the noise model of the others
    whole = CheckedProbs(p, "probs")
    seen_by = CheckedProbs(seen, "seen") if trained else None
    made, power = judged(given, whole, seen_by, rule, models, found.accuracy[0])
    expected = calibrated(given, made, found.rate.estimate, power, known)
    np.testing.assert_array_equal(found.posterior.wrong, expected.wrong)


def test_no_known_labels_and_all_known_labels_are_alike() -> None:
    given, p, seen = problem()
    plain = assess(given, p, seen, NETWORK)
    for known in (np.zeros(300, bool), np.ones(300, bool)):
        found = assess(given, p, seen, NETWORK, known)
        assert found.rate == plain.rate
        np.testing.assert_array_equal(found.posterior.wrong, plain.posterior.wrong)


def test_training_that_memorized_nothing_counts() -> None:
    given, p, _ = problem()
    learned = assess(given, p, np.eye(3)[given] * 0.9 + 0.1 / 3, JUDGES)
    resisted = assess(given, p, np.eye(3)[p.argmax(axis=1)] * 0.9 + 0.1 / 3, JUDGES)
    assert learned.rate.estimate < resisted.rate.estimate


def predictions(true: np.ndarray, K: int, share: float, seed: int) -> np.ndarray:
    """Return probabilities that predict a share of the true classes."""
    draw, n = np.random.default_rng(seed), len(true)
    predicted = np.where(draw.random(n) < share, true, (true + draw.integers(1, K, n)) % K)
    p = draw.dirichlet(np.ones(K), n) * 0.3
    p[np.arange(n), predicted] += 0.7
    return np.asarray(p)


@pytest.mark.parametrize("share", [0.6, 0.3, 0.0])
def test_a_weak_network_makes_no_noise_of_labels_that_the_judges_predict(share: float) -> None:
    draw = np.random.default_rng(1)
    true = draw.integers(0, 4, 400)
    given = np.where(draw.random(400) < 0.08, (true + 1) % 4, true)
    wrong, probs = given != true, predictions(true, 4, 1.0, 11)
    seen, network = predictions(true, 4, 0.95, 21), predictions(true, 4, share, 31)
    alone = assess(given, network, seen, NETWORK)
    assert alone.rate.low > wrong.mean()  # the network's own rate, which the judges contradict
    found = assess(given, probs, seen, JUDGES, network=network)
    assert found.contradicted
    assert found.rate == assess(given, probs, seen, JUDGES).rate
    assert found.rate.low < wrong.mean() < found.rate.high
    np.testing.assert_array_equal(found.posterior.wrong > 0.5, wrong)
    assert found.network == (network.argmax(axis=1) == given).mean()
    assert found.network_accuracy is not None
    assert abs(found.network_accuracy - (network.argmax(axis=1) == true)[~wrong].mean()) < 0.05


def test_a_good_network_gives_the_noise_rate_of_several_judges() -> None:
    draw = np.random.default_rng(1)
    true = draw.integers(0, 4, 400)
    given = np.where(draw.random(400) < 0.08, (true + 1) % 4, true)
    seen, network = predictions(true, 4, 0.95, 21), predictions(true, 4, 0.97, 31)
    found = assess(given, predictions(true, 4, 0.95, 11), seen, JUDGES, network=network)
    assert not found.contradicted
    assert found.rate == assess(given, network, seen, NETWORK).rate
    one = assess(given, network, seen, NETWORK)
    assert (one.network, one.network_accuracy, one.contradicted) == (None, None, False)


def test_wrong_probabilities_are_refused() -> None:
    given, p, seen = problem()
    with pytest.raises(InputError):
        assess(given, p + 0.5, seen, NETWORK)
    with pytest.raises(InputError):
        assess(given[1:], p, seen, NETWORK)
    with pytest.raises(InputError):
        assess(given, p, seen + 0.5, NETWORK)
    with pytest.raises(InputError):
        assess(given + 1, p, seen, NETWORK)


@pytest.mark.parametrize("seed", range(6))
def test_an_audit_has_one_rate(seed: int) -> None:
    draw = np.random.default_rng(seed)
    K, n = int(draw.integers(2, 6)), int(draw.integers(30, 300))
    given, p, _ = problem(n, K, seed)
    found = nl.audit_labels(labels=given, probs=p)
    rate = found.summary["rate"]
    assert found.probability_wrong is not None
    assert rate["low"] <= rate["estimate"] <= rate["high"]
    if "not_judged" not in found.summary:
        assert found.probability_wrong.mean() == pytest.approx(max(rate["estimate"], 0.5 / n), abs=1e-5)
        np.testing.assert_allclose(found.probability_wrong, 1 - found.score)
        np.testing.assert_allclose(found.probs[np.arange(n), given], found.score, atol=1e-6)
    transition = found.summary["transition"]
    low, made, high = (np.array(transition[name]) for name in ("low", "matrix", "high"))
    assert ((low <= made) & (made <= high)).all()
    classes = found.summary["classes"]
    total = sum(row["wrong"] * row["count"] for row in classes) / n
    assert total == pytest.approx(rate["estimate"], abs=1e-5)


def table(path: Path, features: int = 4) -> Path:
    """Write a table of three classes with label errors, a rare class and a checked column."""
    draw = np.random.default_rng(0)
    true = np.arange(121) % 3
    given = np.where(draw.random(121) < 0.15, (true + 1) % 3, true)
    words = ["ant", "bee", "cat", "rare"]
    given[-1] = 3
    values = draw.normal(size=(121, features)) + 3 * np.eye(3, features)[true]
    lines = [
        ",".join([f"r{i}", *map(str, row.round(3)), words[y], "yes" if i % 5 == 0 else "no"])
        for i, (row, y) in enumerate(zip(values, given, strict=True))
    ]
    head = ",".join(["id", *(f"x{k}" for k in range(features)), "label", "checked"])
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("trusted", [None, "checked"])
def test_a_saved_audit_loads_equal_and_fed_back_gives_the_same_audit(
    tmp_path: Path, trusted: str | None
) -> None:
    data = table(tmp_path / "t.csv")
    found = nl.audit_labels(data, out=tmp_path / "a", trusted=trusted, **QUICK)  # type: ignore[arg-type]
    again = Audit.load(tmp_path / "a")
    back = nl.audit_labels(data, probs=tmp_path / "a" / "probs.parquet", trusted=trusted, out=tmp_path / "b")
    assert found.summary["not_judged"] == [120]
    assert (found.trusted is None) == (trusted is None)
    for other in (again, back, Audit.load(tmp_path / "b")):
        for name in ("given", "suggested", "score", "flagged"):
            np.testing.assert_array_equal(getattr(other, name), getattr(found, name))
        for name in ("probability_wrong", "probability_suggested"):  # written with six digits
            np.testing.assert_allclose(getattr(other, name), getattr(found, name), atol=1e-6)
        np.testing.assert_array_equal(other.probs, found.probs)
        np.testing.assert_array_equal(other.out_of_fold, found.out_of_fold)
        np.testing.assert_array_equal(other.seen, found.seen)
        assert list(other.why) == list(found.why)
        for name in ("rate", "transition", "classes", "pairs", "expected", "not_judged", "agreement"):
            assert other.summary[name] == found.summary[name]


def test_an_audit_of_features_fed_back_gives_the_same_audit(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    true = np.arange(90) % 3
    np.save(tmp_path / "x.npy", (draw.normal(size=(90, 8)) + 3 * np.eye(3, 8)[true]).astype(np.float32))
    labels = np.where(draw.random(90) < 0.15, (true + 1) % 3, true)
    for i, (y, shade) in enumerate(zip(labels.tolist(), true.tolist(), strict=True)):
        place = tmp_path / "photos" / "abc"[y] / f"{i:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(60 * shade, 60 * shade + 60, (8, 8), np.uint8)
        Image.fromarray(pixels).save(place)
    order = np.lexsort((np.arange(90), labels))  # of the sorted paths
    np.save(tmp_path / "x.npy", np.load(tmp_path / "x.npy")[order])
    found = nl.audit_labels(
        tmp_path / "photos", features=str(tmp_path / "x.npy"), out=tmp_path / "a", epochs=3, device="cpu"
    )
    assert found.rule == JUDGES
    assert found.network is not None
    assert not np.array_equal(found.network, found.out_of_fold)
    alone = assess(found.given, found.network, found.seen, NETWORK).rate.estimate
    assert found.summary["rate"]["estimate"] == pytest.approx(alone, abs=1e-4)
    again = Audit.load(tmp_path / "a")
    np.testing.assert_array_equal(again.network, found.network)
    back = nl.audit_labels(tmp_path / "photos", probs=tmp_path / "a" / "probs.parquet")
    for other in (again, back):
        assert other.rule == JUDGES
        np.testing.assert_array_equal(other.score, found.score)
        np.testing.assert_array_equal(other.probs, found.probs)
        assert other.summary["rate"] == found.summary["rate"]
        assert other.summary["transition"] == found.summary["transition"]
