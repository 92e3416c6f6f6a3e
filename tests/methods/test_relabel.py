"""Relabel: the rule and the revised labels per example, and the audit of a run."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import noisylabels as nl
from methods.test_arithmetic import Fixed
from methods.test_contract import RUN, setup
from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json
from noisylabels.data.loader import Batch
from noisylabels.experiment import RunConfig
from noisylabels.experiment.method_inputs import MethodData
from noisylabels.methods.expression import method
from noisylabels.methods.fit import fit
from noisylabels.methods.relabel import likely_wrong, revised
from noisylabels.training.settings import Settings

K, N = 4, 40
HOW = ["drop", "relabel", "reweigh"]


def parts(seed: int = 0):
    draw = np.random.default_rng(seed)
    quality, suggested = draw.random(N).astype(np.float32), draw.integers(-1, K, N)
    return quality, suggested, draw.integers(0, K, N)


@pytest.mark.parametrize("how", HOW)
def test_labels_and_weights_per_example(how):
    quality, suggested, given = parts()
    labels, weights = revised(*(torch.tensor(each) for each in (quality, suggested, given)), how)
    wrong = likely_wrong(*(torch.tensor(each) for each in (quality, suggested, given)))
    seen = set()
    for n in range(N):
        bad = quality[n] < 0.5 and suggested[n] != given[n]
        foreign = bad and suggested[n] == -1
        assert wrong[n] == bad
        expected = quality[n] if how == "reweigh" else 1.0
        assert weights[n] == (0 if foreign or (bad and how == "drop") else expected)
        assert labels[n] == (suggested[n] if bad and not foreign and how == "relabel" else given[n])
        seen.add((bad, foreign))
    assert seen == {(False, False), (True, False), (True, True)}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_is_the_weighted_loss_of_revised_labels(how, weighted):
    quality, suggested, given = parts(1)
    torch.manual_seed(0)
    z, own = torch.randn(N, K), np.random.default_rng(2).random(N).astype(np.float32)
    found = method(f"relabel(how={how})", audit=np.column_stack([quality, suggested]))(
        Fixed(z), nl.loss("gce")
    )
    found.weights = torch.tensor(own) if weighted else None
    facts = setup(N, K)
    facts.labels.copy_(torch.tensor(given))
    found.prepare(facts)
    positions = torch.randperm(N)[:15]
    value, _ = found.step(Batch(positions.float()[:, None], torch.tensor(given)[positions], positions))
    labels, weights = revised(*(torch.tensor(each) for each in (quality, suggested, given)), how)
    u = own if weighted else np.ones(N)
    w = weights.numpy() * u.sum() / (weights.numpy() * u).sum()
    costs = nl.loss("gce", reduction="none")(z, labels).numpy()
    expected = np.mean([u[n] * w[n] * costs[n] for n in positions.tolist()])
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert found.columns()["likely_wrong"] == pytest.approx(np.mean((quality < 0.5) & (suggested != given)))


@pytest.mark.parametrize("how", HOW)
def test_an_audit_without_complaints_is_standard_training(how, sets, model):
    train, test = sets()
    audit = np.column_stack([np.ones(41), train.labels])
    one, other = model(), model()
    fit(one, train, test, nl.loss("nce+mae"), method=method(f"relabel(how={how})", audit=audit), **RUN)
    fit(other, train, test, nl.loss("nce+mae"), **RUN)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_dropped_examples_equal_a_part_of_the_set(sets, model):
    """With whole batches: the gradient of an epoch is that of the examples that are kept."""
    train, _ = sets()
    bad = np.arange(41) % 5 == 0
    audit = np.column_stack([np.where(bad, 0.1, 0.9), (train.labels.numpy() + bad) % 3])
    how = RUN | {"augment": "none", "batch_size": 41, "epochs": 4}
    one, other = model(norm=False), model(norm=False)
    fit(one, train, None, nl.loss("ce"), method=method("relabel", audit=audit), **how)
    fit(other, train, None, nl.loss("ce"), positions=np.flatnonzero(~bad), **how)
    torch.testing.assert_close(one[-1].weight, other[-1].weight, rtol=1e-4, atol=1e-6)


def test_the_audit_of_a_run_finds_wrong_labels_and_is_kept(tmp_path):
    config = RunConfig(
        data="digits",
        model="mlp",
        loss="ce",
        method="relabel(how=relabel)",
        noise="symmetric:0.4",
        epochs=12,
        device="cpu",
        lr=0.05,
        out=str(tmp_path / "run"),
    )
    result = nl.run(config)
    kept = np.array(read_json(tmp_path / "run" / "method.json")["audit"])
    noisy = nl.NoisyLabels.load(tmp_path / "run" / "labels.parquet")
    given, true = noisy.given_codes, noisy.true_codes
    wrong = (kept[:, 0] < 0.5) & (kept[:, 1] != given)
    assert kept.shape == (1438, 2)
    assert (given != true)[wrong].mean() > 0.9  # precision
    assert wrong[given != true].mean() > 0.75  # recall
    assert (kept[wrong, 1] == true[wrong]).mean() > 0.8
    assert result.final["likely_wrong"] == pytest.approx(wrong.mean())
    plain = nl.run(RunConfig(**{**vars(config), "method": "standard", "out": str(tmp_path / "plain")}))
    assert result.final["test_accuracy"] > plain.final["test_accuracy"] + 0.05


def data(labels=None, positions=None) -> MethodData:
    train, _ = nl.load("digits")
    noisy = nl.corrupt(train.labels, "symmetric:0.4", num_classes=10, seed=0)
    known = noisy if labels else None
    return MethodData(train, noisy.given_codes, known, positions, lambda seed: None, vars(Settings()))


def test_the_oracle_knows_the_true_labels():
    positions = np.arange(0, 1438, 2)
    found = data(labels=True, positions=positions)
    audit = found.label_quality("oracle")
    true = found.labels.true_codes
    assert audit[positions, 1].tolist() == true[positions].tolist()
    assert ((audit[:, 0] == 1) == ((found.given == true) | (np.arange(1438) % 2 == 1))).all()
    with pytest.raises(InputError, match="there is no oracle"):
        data().label_quality("oracle")


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        (np.zeros((41, 3)), "the audit is of shape (41, 3), expected (N, 2)"),
        (np.zeros((40, 2)), "the audit has 40 examples, expected 41"),
        (np.full((41, 2), 2.0), "row 0 of the audit is [2.0, 2.0], expected a probability"),
        (np.full((41, 2), 0.5), "row 0 of the audit is [0.5, 0.5], expected a probability and a class"),
        (np.full((41, 2), np.nan), "row 0 of the audit is [nan, nan]"),
        (np.column_stack([np.zeros(41), np.full(41, 3)]), "the audit suggests class 3, and the data have 3"),
        (np.column_stack([np.zeros(41), np.full(41, -1)]), "the audit leaves no example to train on"),
        ([["a", "b"]], "the audit is [['a', 'b']], expected (N, 2)"),
    ],
)
def test_an_audit_that_does_not_fit(audit, words, sets, model):
    train, test = sets()
    with pytest.raises(InputError, match=re.escape(words)):
        fit(model(), train, test, nl.loss("ce"), method=method("relabel", audit=audit), **RUN)


def test_the_estimator_audits_each_member_anew(monkeypatch):
    """Members are trained on different parts, whose audits have different rows."""
    audits, whole = [], MethodData.label_quality

    def spy(self, source):
        audits.append(whole(self, source))
        return audits[-1]

    monkeypatch.setattr(MethodData, "label_quality", spy)
    train, test = nl.load("digits")
    X, y = (train.images / 255).flatten(1).numpy()[:400], train.labels.numpy()[:400]
    y = np.where(np.random.default_rng(0).random(400) < 0.3, (y + 1) % 10, y)
    found = nl.NoisyLabelClassifier(model="linear", method="relabel", random_state=0).fit(X, y)
    assert found.score((test.images / 255).flatten(1).numpy(), test.labels.numpy()) > 0.6
    assert len(audits) == 5
    assert not np.array_equal(audits[0], audits[1])
