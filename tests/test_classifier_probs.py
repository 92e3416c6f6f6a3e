"""Out-of-fold probabilities of any classifier, compared with scikit-learn's own cross-validation."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from noisylabels.core.checks import InputError
from noisylabels.experiment.classifier_probs import (
    check_classifier,
    classifier_probs,
    describe,
    fit_classifier,
)
from noisylabels.experiment.folds import assign_folds

RNG = np.random.default_rng(0)
Y = np.repeat([0, 1, 2], 20)
X = RNG.normal(size=(60, 4)) + 2 * np.eye(3, 4)[Y]


@pytest.mark.parametrize(
    "classifier",
    [
        GaussianNB(),
        KNeighborsClassifier(3),
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
        RandomForestClassifier(10, random_state=3),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
        CalibratedClassifierCV(LinearSVC(), cv=2),
        VotingClassifier([("a", GaussianNB()), ("b", KNeighborsClassifier())], voting="soft"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_probabilities_are_those_of_scikit_learn_with_the_same_folds(classifier):
    probs = classifier_probs(classifier, X, Y, 3, folds=4, seed=5)
    split = PredefinedSplit(assign_folds(Y, 4, 5))
    np.testing.assert_allclose(
        probs, cross_val_predict(classifier, X, Y, cv=split, method="predict_proba"), atol=1e-12
    )
    assert not hasattr(classifier, "classes_")  # the classifier itself is not fitted


@pytest.mark.parametrize(
    "kind", [csr_matrix, pandas.DataFrame, np.ndarray.tolist], ids=["sparse", "frame", "list"]
)
def test_rows_of_any_kind_are_taken(kind):
    made = classifier_probs(LogisticRegression(), kind(X), Y, 3)
    np.testing.assert_allclose(made, classifier_probs(LogisticRegression(), X, Y, 3), atol=1e-4)


def test_a_pipeline_receives_the_frame_with_its_names():
    frame = pandas.DataFrame(X, columns=list("abcd")).assign(word=np.array(["x", "y", "z"])[Y])
    steps = make_pipeline(make_column_transformer((OneHotEncoder(), ["word"])), LogisticRegression())
    assert (classifier_probs(steps, frame, Y, 3).argmax(1) == Y).all()


def test_missing_values_reach_a_classifier_that_takes_them_and_are_one_line_for_another():
    holes = X.copy()
    holes[::7, 1] = np.nan
    trees = HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=3)
    assert (classifier_probs(trees, holes, Y, 3).argmax(1) == Y).mean() > 0.6
    with pytest.raises(InputError, match=r"LogisticRegression\.fit raised ValueError: Input X contains NaN"):
        classifier_probs(LogisticRegression(), holes, Y, 3)


class Reversed(ClassifierMixin, BaseEstimator):
    """A classifier whose columns are in descending order."""

    def fit(self, X, y):
        self.inner_ = GaussianNB().fit(X, y)
        self.classes_ = self.inner_.classes_[::-1]
        return self

    def predict_proba(self, X):
        return self.inner_.predict_proba(X)[:, ::-1]


def test_columns_are_matched_by_classes():
    np.testing.assert_allclose(
        classifier_probs(Reversed(), X, Y, 3), classifier_probs(GaussianNB(), X, Y, 3), atol=1e-15
    )


class Strict(BaseEstimator):
    """A classifier that, as XGBoost does, takes the labels 0 to P - 1 alone, and has no classes_."""

    def fit(self, X, y):
        self.inner_ = GaussianNB().fit(X, y)
        assert sorted(set(y.tolist())) == list(range(len(set(y.tolist()))))
        return self

    def predict_proba(self, X):
        return self.inner_.predict_proba(X).astype(np.float32)


def test_a_class_that_is_missing_in_a_fold_has_probability_zero_there():
    labels = np.append(np.where(Y == 2, 4, Y), 3)  # class 2 has no example, class 3 has one
    rows = np.vstack([X, [[9.0, 9.0, 9.0, 9.0]]])
    probs = classifier_probs(Strict(), rows, labels, 5, folds=4, seed=1)
    np.testing.assert_allclose(probs.sum(1), 1)
    assert not probs[:, 2].any()
    assert probs[-1, 3] == 0
    assert (probs[:-1].argmax(1) == labels[:-1]).mean() > 0.8


def test_one_class_alone_is_certain():
    probs = classifier_probs(LogisticRegression(), X[:5], np.array([1, 1, 1, 1, 0]), 2, folds=2)
    (alone,) = np.flatnonzero(np.array([1, 1, 1, 1, 0]) == 0)
    assert probs[alone].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("classifier", "line"),
    [
        (LinearSVC(), r"LinearSVC has no predict_proba; wrap it: CalibratedClassifierCV\(LinearSVC\(...\)\)"),
        (SVC(), "SVC has no predict_proba"),
        (SGDClassifier(), "SGDClassifier has no predict_proba"),
        (make_pipeline(StandardScaler(), LinearSVC()), r"Pipeline\(..., LinearSVC\) has no predict_proba"),
        (LogisticRegression, r"classifier is the class LogisticRegression, .* write LogisticRegression\(\)"),
        ("forest", "classifier is a str without a method fit"),
    ],
)
def test_what_cannot_judge_is_one_line(classifier, line):
    with pytest.raises(InputError, match=line):
        check_classifier(classifier)


class NoParameters:
    """A classifier that scikit-learn cannot clone."""

    def fit(self, X, y): ...

    def predict_proba(self, X): ...


class Wrong(BaseEstimator):
    """A classifier that returns what it was told."""

    def __init__(self, result=None):
        self.result = result

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.tile(self.result, (len(X), 1))


@pytest.mark.parametrize(
    ("classifier", "line"),
    [
        (NoParameters(), "NoParameters cannot be cloned .* derive it from sklearn.base.BaseEstimator"),
        (Wrong([0.5, 0.5]), r"returned an array of shape \(15, 2\), expected \(15, 3\)"),
        (Wrong([2.0, -0.5, -0.5]), "returned rows that are no probabilities"),
        (Wrong([np.nan] * 3), "returned rows that are no probabilities"),
    ],
)
def test_what_a_classifier_does_wrong_is_one_line(classifier, line):
    with pytest.raises(InputError, match=line) as caught:
        classifier_probs(classifier, X, Y, 3)
    assert "\n" not in str(caught.value)


def test_the_seed_decides_where_the_classifier_leaves_it_open():
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(5))
    first, again, other = (classifier_probs(forest, X, Y, 3, folds=4, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert forest[-1].random_state is None
    set_by_user = RandomForestClassifier(5, random_state=7)
    made = fit_classifier(set_by_user, X, Y, seed=1).classifier
    assert made.random_state == 7


def test_class_weights_are_by_name():
    by_name = LogisticRegression(class_weight={"cat": 1.0, "dog": 20.0, "eel": 1.0})
    by_number = LogisticRegression(class_weight={0: 1.0, 1: 20.0, 2: 1.0})
    expected = by_number.fit(X, Y).predict_proba(X)
    made = fit_classifier(by_name, X, Y, seed=0, class_names=("cat", "dog", "eel"))
    np.testing.assert_allclose(made.probs(X, 3), expected)
    with pytest.raises(InputError, match="class_weight has 'dog', expected names of classes"):
        fit_classifier(by_name, X, Y, seed=0, class_names=("cat", "hen", "eel"))


def test_weights_are_passed_only_if_given():
    weights = np.where(Y == 0, 5.0, 1.0)
    plain = classifier_probs(DummyClassifier(strategy="prior"), X, Y, 3)
    heavy = classifier_probs(DummyClassifier(strategy="prior"), X, Y, 3, sample_weight=weights)
    np.testing.assert_allclose(plain, 1 / 3)
    np.testing.assert_allclose(heavy, np.tile([5 / 7, 1 / 7, 1 / 7], (60, 1)))
    assert classifier_probs(KNeighborsClassifier(), X, Y, 3).shape == (60, 3)  # its fit takes no weights


def test_folds_that_are_kept_are_not_fitted_again():
    stored: dict[int, np.ndarray] = {}
    whole = classifier_probs(GaussianNB(), X, Y, 3, keep=stored.__setitem__)
    assert sorted(stored) == [0, 1, 2, 3]
    del stored[2]
    made = []
    again = classifier_probs(GaussianNB(), X, Y, 3, kept=stored.get, keep=lambda k, _: made.append(k))
    assert made == [2]
    assert (again == whole).all()


def test_the_description_is_json_and_the_same_in_another_process():
    code = (
        "import json; from sklearn.pipeline import make_pipeline; from sklearn.preprocessing import *; "
        "from sklearn.ensemble import *; from noisylabels.experiment.classifier_probs import describe; "
        "print(json.dumps(describe(make_pipeline(FunctionTransformer(abs), RandomForestClassifier(5)))))"
    )
    shown = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert shown[0] == shown[1]
    assert json.loads(shown[0])["parameters"]["randomforestclassifier__n_estimators"] == 5
    assert describe(KNeighborsClassifier(3)) != describe(KNeighborsClassifier(4))


@pytest.mark.parametrize("package", ["lightgbm", "xgboost", "catboost", "tabpfn"])
def test_peers_follow_the_contract(package):
    """Runs where the package is installed; the tested environment has none of them."""
    module = pytest.importorskip(package)
    kinds = {"lightgbm": "LGBM", "xgboost": "XGB", "catboost": "CatBoost", "tabpfn": "TabPFN"}
    small = {"lightgbm": {"n_estimators": 20, "verbosity": -1, "min_child_samples": 2}}
    few = small | {"xgboost": {"n_estimators": 20}, "catboost": {"iterations": 20, "verbose": 0}}
    made = getattr(module, f"{kinds[package]}Classifier")(**few.get(package, {}))
    labels = np.append(np.where(Y == 2, 4, Y), 3)
    rows = np.vstack([X, [[np.nan, 9.0, 9.0, 9.0]]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probs = classifier_probs(made, rows, labels, 5)
    np.testing.assert_allclose(probs.sum(1), 1)
    assert (probs.argmax(1) == labels).mean() > 0.6
