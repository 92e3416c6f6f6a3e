"""NoisyLabelClassifier: tables and labels of many kinds, weights, robustness, and scikit-learn's tools."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data.encoding import weighted_median
from noisylabels.estimator import NoisyLabelClassifier

FAST = {"n_estimators": 2, "epochs": 8, "random_state": 0}


def blobs(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return make_blobs(n, n_features=4, centers=3, cluster_std=2.0, random_state=seed)


def quick(**more: object) -> NoisyLabelClassifier:
    return NoisyLabelClassifier(**FAST | more)


@pytest.mark.slow
def test_it_learns_a_curved_boundary_from_noisy_labels():
    """Two moons, which no linear model separates as well, even one trained on true labels."""
    X, y = make_moons(700, noise=0.2, random_state=1)
    given = nl.corrupt(y[:400], "symmetric:0.2", num_classes=2, seed=1).given
    found = NoisyLabelClassifier(n_estimators=3, random_state=0).fit(X[:400], given)
    line = LogisticRegression().fit(X[:400], y[:400]).score(X[400:], y[400:])
    assert found.score(X[400:], y[400:]) > max(0.9, line + 0.03)
    assert found.model_ != "linear"


@pytest.mark.slow
def test_it_trusts_the_linear_model_for_a_linear_boundary():
    """Thirty columns, two of which matter, and 200 rows: a network alone would learn the noise."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(1200, 30))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    given = nl.corrupt(y[:200], "symmetric:0.3", num_classes=2, seed=1).given
    found = NoisyLabelClassifier(n_estimators=3, random_state=0).fit(X[:200], given)
    assert sum(candidate.share for candidate in found.candidates_) == pytest.approx(1)
    linear, network, *_ = found.candidates_
    assert linear.model == "linear"
    assert linear.cost < network.cost + 0.01
    alone = NoisyLabelClassifier(model="mlp", n_estimators=3, random_state=0).fit(X[:200], given)
    assert found.score(X[200:], y[200:]) > max(0.75, alone.score(X[200:], y[200:]) + 0.01)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["setosa", "versicolor", "virginica"]),
        np.array(["a", "b", "c"], dtype=object),
        np.array([10, -3, 7]),
        np.array([2.0, 0.0, 1.0]),
        np.array(["2024-01-01", "2023-01-01", "2025-01-01"], dtype="datetime64[D]"),
    ],
)
def test_labels_of_any_sortable_kind_come_back(labels):
    X, y = load_iris(return_X_y=True)
    found = quick().fit(X, labels[y])
    assert found.classes_.tolist() == sorted(labels.tolist())
    predicted = found.predict(X)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels[y]).mean() > 0.8
    assert found.predict_proba(X).shape == (150, 3)


def test_tuples_and_dates_are_labels_too():
    import datetime

    X, y = blobs()
    for kinds in ([(1, "a"), (0, "b"), (0, "a")], [datetime.date(2020 + i, 1, 1) for i in range(3)]):
        labels = np.empty(len(y), dtype=object)
        labels[:] = [kinds[k] for k in y]
        assert quick().fit(X, labels).classes_.tolist() == sorted(kinds)


def test_labels_that_cannot_be_sorted_are_refused_in_one_line():
    X, _ = blobs()
    mixed = np.array([1, "one"] * 60, dtype=object)
    with pytest.raises(InputError, match="types int, str cannot be sorted"):
        quick().fit(X, mixed)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_table_keeps_its_names(kind):
    library = pytest.importorskip(kind)
    X, y = blobs()
    table = library.DataFrame({f"column {i}": X[:, i] for i in range(4)})
    labels = library.Series(["low", "mid", "high"])[y.tolist()] if kind == "polars" else None
    if labels is None:
        labels = library.Series(np.array(["low", "mid", "high"])[y])
    found = quick().fit(table, labels)
    assert found.feature_names_in_.tolist() == [f"column {i}" for i in range(4)]
    assert found.n_features_in_ == 4
    plain = quick().fit(X, np.array(["low", "mid", "high"])[y])
    np.testing.assert_array_equal(found.predict_proba(table), plain.predict_proba(X))
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(
            table.rename(columns={"column 0": "x"}) if kind == "pandas" else table.rename({"column 0": "x"})
        )


def test_weights_equal_repetitions_and_order_does_not_matter():
    X, y = blobs()
    draw = np.random.default_rng(1)
    weights = draw.integers(0, 4, len(y))
    often = np.repeat(np.arange(len(y)), weights)
    draw.shuffle(often)
    weighted = quick().fit(X, y, sample_weight=weights)
    repeated = quick().fit(X[often], y[often])
    np.testing.assert_array_equal(weighted.predict_proba(X), repeated.predict_proba(X))
    plain = quick().fit(X, y)
    assert np.abs(weighted.predict_proba(X) - plain.predict_proba(X)).max() > 1e-3


@pytest.mark.filterwarnings("ignore:X. missing numbers .*, of which training had none:UserWarning")
@pytest.mark.parametrize("lacking", [True, False])  # cells missing in training, or in new rows alone
def test_weights_equal_repetitions_in_a_frame_with_missing_cells(lacking):
    X, y = blobs()
    frame = pd.DataFrame(X, columns=[f"c{k}" for k in range(X.shape[1])])
    new = frame.copy()
    new.loc[::5, "c1"] = np.nan
    frame = new if lacking else frame
    weights = np.random.default_rng(1).integers(0, 4, len(y))
    often = np.repeat(np.arange(len(y)), weights)
    weighted = quick().fit(frame, y, sample_weight=weights)
    repeated = quick().fit(frame.iloc[often].reset_index(drop=True), y[often])
    assert np.median(X[often, 1]) != np.median(X[weights > 0, 1])  # the weights matter
    np.testing.assert_array_equal(weighted.predict_proba(new), repeated.predict_proba(new))


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=12), st.floats(0.01, 100)
)
def test_the_weighted_median_is_that_of_repeated_values_at_any_scale(pairs, scale):
    values, weights = np.array(pairs, dtype=np.float64).T
    right = np.median(np.repeat(values, weights.astype(int)))
    assert weighted_median(values, weights) == right
    assert weighted_median(values, scale * weights) == right


def test_weights_control_which_labels_matter():
    """Half of the labels follow a wrong rule; small weights make them hardly matter, large ones do."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(600, 3))
    right, wrong = (X[:, 0] > 0).astype(int), (X[:, 1] > 0).astype(int)
    of_right = np.arange(600) % 2 == 0
    y = np.where(of_right, right, wrong)
    for share, rule in ((0.95, right), (0.05, wrong)):
        found = quick(epochs=20).fit(X, y, sample_weight=np.where(of_right, share, 1 - share))
        assert (found.predict(X) == rule).mean() > 0.9


def test_a_weight_of_zero_leaves_a_label_out_of_the_classes():
    X, y = blobs()
    found = quick().fit(X, y, sample_weight=y != 2)
    assert found.classes_.tolist() == [0, 1]


def test_the_same_seed_gives_the_same_model_and_the_global_state_is_left_alone():
    X, y = blobs()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (quick().fit(X, y).predict_proba(X) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - quick(random_state=1).fit(X, y).predict_proba(X)).max() > 0


def test_threads_do_not_draw_from_each_others_numbers():
    X, y = make_moons(60, noise=0.2, random_state=0)

    def probs(_: int) -> np.ndarray:
        return NoisyLabelClassifier(n_estimators=2, epochs=4, random_state=0).fit(X, y).predict_proba(X)

    alone = probs(0)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(probs, range(6)):
            np.testing.assert_array_equal(found, alone)


def test_one_class_is_always_predicted():
    X, _ = blobs()
    found = quick().fit(X, ["only"] * len(X))
    assert set(found.predict(X)) == {"only"}
    np.testing.assert_array_equal(found.predict_proba(X), np.ones((len(X), 1)))


@pytest.mark.parametrize("n", [2, 5, 11])
def test_very_few_rows(n):
    X, y = make_blobs(n, centers=2, random_state=0)
    probs = NoisyLabelClassifier(random_state=0, epochs=3).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(probs.sum(1), 1)


def test_hostile_columns():
    """Constant, tiny, huge, and far from zero: all are scaled; a value beyond all others stays finite."""
    X, y = blobs()
    hard = np.column_stack([X[:, 0] * 1e-200, X[:, 1] * 1e100 + 1e102, X[:, 2] + 1e9, np.full(len(X), 0.1)])
    found = quick(epochs=20).fit(hard, y)
    assert found.score(hard, y) > 0.75
    assert np.isfinite(found.predict_proba([[1e300, -1e300, 0.0, 5.0]])).all()
    with pytest.raises(InputError, match="too large"):
        quick().fit(X * 1e200, y)


def test_early_stopping_goes_back_to_the_best_epoch():
    X, y = blobs()
    given = nl.corrupt(y, "symmetric:0.3", num_classes=3, seed=0).given
    found = quick(model="mlp", epochs=60, n_iter_no_change=3, lr=0.02).fit(X, given)
    for member in range(2):
        rows = [row for row in found.history_ if row["member"] == member]
        seen = [row["validation_probability"] for row in rows]
        assert len(rows) < 60
        assert len(rows) == int(np.argmax(seen)) + 1 + 3
        assert rows[0].keys() >= {"epoch", "train_loss", "validation_accuracy", "model", "loss"}
    whole = quick(model="mlp", epochs=60, lr=0.02).fit(X, given)
    assert len(whole.history_) == 2 * 60


def test_calibration_brings_confidence_to_the_share_of_given_labels():
    """At a noise rate of a third the confidence is about two thirds; uncalibrated, it is higher."""
    X, y = make_blobs(1500, centers=3, n_features=4, cluster_std=1.0, random_state=0)
    given = nl.corrupt(y, "symmetric:0.3", num_classes=3, seed=0).given
    how = {"loss": "mae", "model": "mlp", "random_state": 0, "epochs": 15}
    sure = NoisyLabelClassifier(**how).fit(X[:1000], given[:1000])
    honest = NoisyLabelClassifier(calibrate=True, **how).fit(X[:1000], given[:1000])
    np.testing.assert_array_equal(sure.predict(X), honest.predict(X))
    right = (honest.predict(X[1000:]) == given[1000:]).mean()
    assert sure.predict_proba(X[1000:]).max(1).mean() > right + 0.15
    assert abs(honest.predict_proba(X[1000:]).max(1).mean() - right) < 0.06
    assert honest.temperature_ > 1


def test_clone_pickle_and_nothing_of_training_in_it():
    X, y = blobs()
    found = quick().fit(X, y)
    assert clone(found).get_params() == found.get_params()
    with pytest.raises(NotFittedError):
        clone(found).predict(X)
    stored = pickle.dumps(found)
    np.testing.assert_array_equal(pickle.loads(stored).predict_proba(X), found.predict_proba(X))
    assert b"exp_avg" not in stored
    assert b"optim" not in stored


def test_pipeline_search_and_cross_validation():
    X, y = blobs()
    pipe = make_pipeline(MinMaxScaler(), NoisyLabelClassifier(model="mlp", **FAST))
    search = GridSearchCV(pipe, {"noisylabelclassifier__loss": ["ce", "nce+mae"]}, cv=2, error_score="raise")
    search.fit(X, y)
    assert search.best_params_["noisylabelclassifier__loss"] in ("ce", "nce+mae")
    assert search.best_estimator_[-1].loss_ == search.best_params_["noisylabelclassifier__loss"]
    probs = cross_val_predict(quick(), X, y, cv=3, method="predict_proba")
    assert probs.shape == (120, 3)
    assert (probs.argmax(1) == y).mean() > 0.7
    search = GridSearchCV(
        quick(model="linear"), {"lr": np.logspace(-2, -1, 2), "epochs": np.array([2, 3])}, cv=2
    )
    search.fit(X, y)


def test_a_loss_may_be_an_object():
    X, y = blobs()
    one = quick(loss=nl.loss("2*nce+mae"), model="mlp").fit(X, y)
    other = clone(quick(loss="2*nce + mae", model="mlp")).fit(X, y)
    assert one.loss_ == other.loss_ == "2*nce+mae"
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"loss": "nec"}, "did you mean 'nce'"),
        ({"loss": 3}, "loss is 3"),
        ({"model": "resnet18"}, "the model is 'resnet18', expected auto, linear, mlp"),
        ({"model": "mlp:0"}, "mlp:0"),
        ({"n_estimators": 0}, "n_estimators"),
        ({"epochs": 1.5}, "epochs"),
        ({"batch_size": 1}, "batch_size"),
        ({"lr": 0.0}, "lr"),
        ({"dropout": 1.0}, "dropout"),
        ({"validation_fraction": 0.6}, "validation_fraction"),
        ({"validation_fraction": 0.0}, "model 'auto' needs held-out examples"),
        ({"validation_fraction": 0.0, "model": "mlp", "calibrate": True}, "calibrate needs"),
        ({"n_iter_no_change": 0}, "n_iter_no_change"),
        ({"device": "warp"}, "device"),
    ],
)
def test_errors_are_one_line(parameters, words):
    X, y = blobs()
    with pytest.raises(InputError, match=words) as caught:
        quick(**parameters).fit(X, y)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 119, r"\(119,\)"),
        ([-1.0] * 120, "0 or more"),
        ([float("nan")] * 120, "0 or more"),
        ([0.0] * 120, "zero"),
    ],
)
def test_invalid_weights_are_refused(weights, words):
    X, y = blobs()
    with pytest.raises(InputError, match=words):
        quick().fit(X, y, sample_weight=weights)


def test_without_held_out_examples_a_named_model_trains_on_all():
    X, y = blobs()
    found = quick(model="mlp", validation_fraction=0.0).fit(X, y)
    assert found.score(X, y) > 0.7
    assert found.candidates_[0].cost == -np.inf


def test_images_go_through_a_convolutional_network():
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[:, None]
    found = NoisyLabelClassifier(n_estimators=1, epochs=6, random_state=0).fit(
        images[:500], digits.target[:500]
    )
    assert found.model_ == "small-cnn"
    assert found.score(images[500:900], digits.target[500:900]) > 0.8
    assert found.n_features_in_ == 64
    with pytest.raises(InputError, match="as in training"):
        found.predict(images[:, :, :4])
    with pytest.raises(InputError, match="expected uint8"):
        NoisyLabelClassifier().fit(images.astype(float), digits.target)


@pytest.mark.parametrize(
    ("labels", "words"), [([0.5, 1.5], "continuous"), ([0, np.nan], "NaN"), ([], r"\(0, 1, 8, 8\)")]
)
def test_labels_of_images_are_checked_as_those_of_rows_are(labels, words):
    images = np.zeros((len(labels), 1, 8, 8), np.uint8)
    with pytest.raises(ValueError, match=words):
        NoisyLabelClassifier(n_estimators=1, epochs=1).fit(images, labels)


def test_classes_that_look_like_one_cause_a_warning():
    X, y = blobs()
    words = np.array(["Cat", "cat", "dog"])[y % 3]
    with pytest.warns(UserWarning, match="^y: classes that look like one: 'Cat' "):
        found = quick(epochs=2).fit(X, words)
    assert sorted(found.classes_) == sorted(set(words))
