"""Classifiers by name: some of scikit-learn, or the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from noisylabels.core import user_code
from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.files import file_digest
from noisylabels.experiment.classifier_probs import check_classifier, describe, name_of


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier that judges labels.

    Args:
        name: what a user calls it: the name that was asked for, or the classifier's class.
        classifier: the unfitted classifier.
        identity: JSON that differs for another classifier: class and parameters, or the digest of its code.
    """

    name: str
    classifier: Any
    identity: dict[str, Any] = field(default_factory=dict)


def _logistic() -> Any:
    from noisylabels.experiment.penalized_logistic import PenalizedLogistic

    return PenalizedLogistic()


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    # leaves of several examples average over noisy labels, leaves of one memorize them
    return RandomForestClassifier(min_samples_leaf=5)


def _extra_trees() -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(min_samples_leaf=3)


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # fewer, smaller and slower trees than the defaults, which fit the noise too
    return HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=60, max_leaf_nodes=8, l2_regularization=5.0
    )


def _knn() -> Any:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), KNeighborsClassifier(30))


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": _logistic,
    "forest": _forest,
    "extra-trees": _extra_trees,
    "boosting": _boosting,
    "knn": _knn,
}
"""Name -> a function that returns the unfitted classifier."""

EXPECTED = f"{', '.join(CLASSIFIERS)}, MODULE:NAME or FILE.py:NAME"


def find_judge(classifier: object) -> Judge:
    """Return a classifier with its name and identity.

    Args:
        classifier: a classifier, see `classifier_probs.check_classifier`; a name in `CLASSIFIERS`; or the
            name of a class or a function without arguments that returns a classifier:
            "lightgbm:LGBMClassifier", "mine.py:build".

    Raises:
        InputError: an unknown name, code that fails, or an object that is no classifier.

    >>> find_judge("forest").identity["class"]
    'sklearn.ensemble._forest.RandomForestClassifier'
    """
    if not isinstance(classifier, str):
        check_classifier(classifier)
        return Judge(name_of(classifier), classifier, describe(classifier))
    if classifier in CLASSIFIERS:
        made = CLASSIFIERS[classifier]()
        return Judge(classifier, made, describe(made))
    if user_code.split_spec(classifier) is None:
        hint = did_you_mean(classifier, CLASSIFIERS)
        raise InputError(f"classifier is {classifier!r}, expected {EXPECTED}{hint}")
    return _of_user(user_code.canonical_spec(classifier))


def _of_user(spec: str) -> Judge:
    file = user_code.code_file(spec)
    with user_code.importable(spec):
        build = user_code.find(spec, "classifier")
        try:
            made = build()
        except InputError:
            raise
        except Exception as error:
            raise user_code.failed(spec, "classifier", error) from error
    check_classifier(made)
    identity = {"code": spec, **describe(made)}
    if spec.rpartition(":")[0].endswith(".py") and file is not None:
        identity["digest"] = file_digest(file)
    return Judge(spec, made, identity)
