"""Out-of-fold probabilities of any classifier that follows scikit-learn's contract."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisylabels.core.checks import CorruptedFile, InputError, check_whole, one_line
from noisylabels.core.rng import derive_seed
from noisylabels.experiment.folds import assign_folds

FOLDS = 4

_NEEDED = ("fit", "predict_proba")


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """A fitted classifier whose classes are numbers of a larger list.

    Args:
        classifier: the fitted classifier; None if there was a single class, which is then certain.
        present: (P,) int64, the class numbers that it was fitted to, ascending; its own labels index them.
    """

    classifier: Any
    present: np.ndarray

    def probs(self, X: Any, num_classes: int) -> np.ndarray:
        """Return class probabilities, (N, K) float64; rows sum to 1, and classes without examples have 0.

        The classifier's columns are matched with the classes by its `classes_`, in whatever order.

        Raises:
            InputError: the classifier fails, or does not return one probability per class.
        """
        made = np.zeros((count_rows(X), num_classes))
        if self.classifier is None:
            made[:, self.present] = 1.0
            return made
        name = name_of(self.classifier)
        try:
            raw = np.asarray(self.classifier.predict_proba(X), dtype=np.float64)
        except Exception as error:
            raise _failed(self.classifier, "predict_proba", error) from error
        expected = (len(made), len(self.present))
        if raw.shape != expected:
            raise InputError(
                f"{name}.predict_proba returned an array of shape {raw.shape}, expected {expected}: one row "
                "per example and one column per class"
            )
        sums = raw.sum(axis=1)
        if not (np.isfinite(sums).all() and (raw >= -1e-6).all() and (abs(sums - 1) < 1e-2).all()):
            raise InputError(
                f"{name}.predict_proba returned rows that are no probabilities; expected numbers of 0 or "
                "more that sum to 1"
            )
        columns = np.asarray(getattr(self.classifier, "classes_", np.arange(len(self.present))))
        if sorted(columns.tolist()) != list(range(len(self.present))):
            raise InputError(
                f"{name}.classes_ is {columns.tolist()[:8]}, expected the labels it was fitted to, "
                f"{list(range(len(self.present)))[:8]}"
            )
        made[:, self.present[columns.astype(np.int64)]] = np.clip(raw, 0, None) / sums[:, None]
        return made


def check_classifier(classifier: object) -> None:
    """Raise an `InputError` unless the object is an unfitted classifier with fit and predict_proba.

    >>> from sklearn.naive_bayes import GaussianNB
    >>> check_classifier(GaussianNB())
    """
    if isinstance(classifier, type):
        raise InputError(
            f"classifier is the class {classifier.__name__}, expected an instance; write "
            f"{classifier.__name__}()"
        )
    name = name_of(classifier)
    fits, predicts = (callable(getattr(classifier, each, None)) for each in _NEEDED)
    if not fits:
        raise InputError(
            f"classifier is a {name} without a method fit, expected a classifier of scikit-learn's contract, "
            "such as HistGradientBoostingClassifier()"
        )
    if not predicts:
        raise InputError(
            f"{name} has no predict_proba; wrap it: CalibratedClassifierCV({name}(...)) of "
            "sklearn.calibration gives it probabilities"
        )
    _clone(classifier)


def fit_classifier(
    classifier: Any,
    X: Any,
    labels: np.ndarray,
    *,
    seed: int,
    class_names: Sequence[str] = (),
    sample_weight: np.ndarray | None = None,
) -> FittedClassifier:
    """Return a fitted clone of a classifier; the classifier itself is left as it is.

    The clone is fitted to the numbers 0 to P - 1 of the P classes that have examples, as XGBoost requires. A
    `class_weight` by class name is translated. Each `random_state` that is None, also of a step of a
    pipeline, is drawn from the seed, so that the same call returns the same probabilities.

    Args:
        classifier: see `check_classifier`.
        X: N rows: an array, a sparse matrix or a data frame, as the classifier takes them.
        labels: (N,) int64, class numbers.
        seed: seed of the classifier's random state.
        class_names: names of the class numbers, for `class_weight`.
        sample_weight: (N,), passed to fit; by default fit is called without weights.

    Raises:
        InputError: the classifier cannot be cloned, or fit fails.
    """
    present, codes = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return FittedClassifier(None, present)
    made = _clone(classifier)
    try:
        made.set_params(**_random_states(made, seed), **_class_weights(made, class_names, present))
        made.fit(X, codes, **({} if sample_weight is None else {"sample_weight": sample_weight}))
    except InputError:
        raise
    except Exception as error:
        raise _failed(classifier, "fit", error) from error
    return FittedClassifier(made, present)


def classifier_probs(
    classifier: Any,
    X: Any,
    labels: np.ndarray,
    num_classes: int,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    class_names: Sequence[str] = (),
    sample_weight: np.ndarray | None = None,
    copies: np.ndarray | None = None,
    kept: Callable[[int], np.ndarray | None] = lambda fold: None,
    keep: Callable[[int, np.ndarray], None] = lambda fold, probs: None,
) -> np.ndarray:
    """Return out-of-fold probabilities: each example's are of a clone that was not fitted to it.

    Args:
        classifier: any classifier with fit and predict_proba, see `check_classifier`.
        X: N rows: an array, a sparse matrix or a data frame, as the classifier takes them.
        labels: (N,) int64 in [0, K), the given labels.
        num_classes: K.
        folds: number of folds, drawn by `folds.assign_folds`.
        seed: seed of the folds and of the classifiers' random states.
        class_names: names of the class numbers, for `class_weight`.
        sample_weight: (N,) weights for fit; by default fit is called without.
        copies: (N,) the first example that equals each one, see `first_equals`: they are in one fold.
        kept: called with a fold; returns the probabilities that an earlier call handed to `keep`, or None.
        keep: called with each fold that has been predicted, and the probabilities of its examples.

    Returns:
        (N, K) float64, rows sum to 1. A class that has no example outside a fold has probability 0 in it.

    Raises:
        InputError: as `check_classifier`, `assign_folds`, or an error of the classifier in one line.

    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]]), np.array([0, 0, 0, 1, 1, 1])
    >>> classifier_probs(GaussianNB(), X, y, 2, folds=3).argmax(1).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    check_classifier(classifier)
    check_whole(num_classes, "num_classes", 2)
    if count_rows(X) != len(labels):
        raise InputError(f"got {count_rows(X)} rows and {len(labels)} labels, expected one label per row")
    fold = assign_folds(labels, folds, seed, copies)
    probs = np.zeros((len(labels), num_classes))
    for k in range(folds):
        held, rest = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        found = kept(k)
        shape = (len(held), num_classes)
        if found is not None and not (
            found.shape == shape and found.dtype.kind == "f" and np.isfinite(found).all()
        ):
            raise CorruptedFile(
                f"the kept probabilities of fold {k + 1} are {found.dtype} {found.shape}, expected finite "
                f"numbers {shape}; remove its file to fit the fold again"
            )
        if found is None:
            weights = None if sample_weight is None else sample_weight[rest]
            own = derive_seed(seed, "classifier", k) % 2**31
            fitted = fit_classifier(
                classifier,
                take_rows(X, rest),
                labels[rest],
                seed=own,
                class_names=class_names,
                sample_weight=weights,
            )
            found = fitted.probs(take_rows(X, held), num_classes)
            keep(k, found)
        probs[held] = found
    return probs


def describe(classifier: Any) -> dict[str, Any]:
    """Return class and parameters of a classifier as JSON, the same in every process.

    >>> from sklearn.naive_bayes import GaussianNB
    >>> describe(GaussianNB())["class"]
    'sklearn.naive_bayes.GaussianNB'
    """
    kind = type(classifier)
    settings = classifier.get_params(deep=True) if hasattr(classifier, "get_params") else {}
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": {name: _described(settings[name]) for name in sorted(settings)},
    }


def name_of(classifier: Any) -> str:
    """Return the name of the classifier's class; of a pipeline, with the class of its last step."""
    steps = getattr(classifier, "steps", None)
    name = type(classifier).__name__
    return f"{name}(..., {type(steps[-1][1]).__name__})" if isinstance(steps, list) and steps else name


def takes_texts(estimator: Any) -> bool:
    """Return whether an estimator takes texts as they are: by its tags, or those of its first step.

    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> takes_texts(make_pipeline(TfidfVectorizer(), MultinomialNB())), takes_texts(MultinomialNB())
    (True, False)
    """
    if hasattr(estimator, "__sklearn_tags__"):
        try:
            tags = estimator.__sklearn_tags__().input_tags
        except (AttributeError, TypeError):  # one that does not inherit from scikit-learn's, or has no steps
            tags = None
        if getattr(tags, "string", False) or getattr(tags, "one_d_array", False):
            return True
    for name in ("steps", "transformer_list", "estimators"):
        parts = getattr(estimator, name, None)
        if isinstance(parts, (list, tuple)) and parts and isinstance(parts[0], tuple):
            return takes_texts(parts[0][1])
    inner = getattr(estimator, "estimator", None)
    return hasattr(inner, "fit") and takes_texts(inner)


def count_rows(X: Any) -> int:
    """Return the number of rows of an array, a sparse matrix, a frame or a list."""
    shape = getattr(X, "shape", None)
    return len(X) if shape is None else int(shape[0])


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return some rows of an array, a sparse matrix, a frame or a list, of the same kind.

    >>> take_rows(["a", "b", "c"], np.array([2, 0]))
    ['c', 'a']
    """
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, (list, tuple)):
        return [X[i] for i in rows.tolist()]
    return (X.tocsr() if hasattr(X, "tocsr") else X)[rows]


def _clone(classifier: Any) -> Any:
    from sklearn.base import clone

    try:
        return clone(classifier)
    except Exception as error:
        raise InputError(
            f"{name_of(classifier)} cannot be cloned ({one_line(error)}); derive it from "
            "sklearn.base.BaseEstimator, and let __init__ only store its arguments"
        ) from None


def _failed(classifier: Any, method: str, error: Exception) -> InputError:
    return InputError(f"the classifier failed: {name_of(classifier)}.{method} raised {one_line(error)}")


def _random_states(classifier: Any, seed: int) -> dict[str, int]:
    """Return a seed for each parameter called random_state that is None."""
    named = classifier.get_params(deep=True)
    free = [key for key in named if key.split("__")[-1] == "random_state" and named[key] is None]
    return {key: derive_seed(seed, key) % 2**31 for key in free}


def _class_weights(
    classifier: Any, class_names: Sequence[str], present: np.ndarray
) -> dict[str, dict[int, float]]:
    """Return each class_weight by name or number as one by the number among the present classes."""
    code = {int(k): i for i, k in enumerate(present)}
    number = {str(name): k for k, name in enumerate(class_names)}
    made = {}
    for key, value in classifier.get_params(deep=True).items():
        if key.split("__")[-1] != "class_weight" or not isinstance(value, Mapping):
            continue
        if unknown := [label for label in value if number and str(label) not in number]:
            raise InputError(f"class_weight has {unknown[0]!r}, expected names of classes: {list(number)}")
        places = {number[str(label)] if number else int(label): weight for label, weight in value.items()}
        made[key] = {code[k]: float(weight) for k, weight in places.items() if k in code}
    return made


def _described(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value if not isinstance(value, float) or np.isfinite(value) else repr(value)
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value)
        plain = repr(value.tolist()).encode() if value.dtype.hasobject else content.tobytes()
        return f"array {value.shape} {hashlib.sha256(plain).hexdigest()}"
    if isinstance(value, Mapping):
        return {str(key): _described(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [_described(one) for one in value]
    if hasattr(value, "get_params"):  # its parameters are listed on their own
        return f"{type(value).__module__}.{type(value).__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))  # of an object's place in memory
