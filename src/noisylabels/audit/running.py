"""The audit from end to end: read the data, get out-of-fold probabilities, find label errors, write files."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylabels.audit.audit_folder import finished
from noisylabels.audit.cross_validation import FOLDS, RECIPE
from noisylabels.audit.inputs import Subject, features_for, read_subject, seen_through
from noisylabels.audit.job import Job
from noisylabels.audit.result import Audit
from noisylabels.core.checks import InputError, check_choice, check_whole
from noisylabels.core.files import (
    locked_folder,
)
from noisylabels.core.opening import has_no_room
from noisylabels.core.row_index import match_mask
from noisylabels.core.spelling import LOOKALIKES
from noisylabels.experiment.reporter import Reporter, Silent

if TYPE_CHECKING:
    pass

PARTS = ("all", "train")

_NOT_USED = "ignored "
"""Beginning of the notes on rows, columns and files that are not used; features that cannot be encoded are
left out as documented, and are no reason to warn.
"""


def audit_labels(
    data: object = None,
    *,
    labels: object = None,
    class_names: Sequence[str] | None = None,
    probs: object = None,
    out: str | Path | None = None,
    part: str = "all",
    noise: str = "none",
    folds: int = FOLDS,
    loss: str = "auto",
    model: str = "auto",
    width: float | None = None,
    seed: int = 0,
    image_size: int | None = None,
    bad_images: str = "fail",
    label_column: str | None = None,
    id_column: str | None = None,
    text_column: str | None = None,
    trusted: object = None,
    classifier: object = None,
    features: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    escape_formulas: bool = False,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Audit:
    """Estimate the noise rate, find likely mislabeled examples, and suggest their labels.

    The audit trains one model per fold with a robust loss and compares each given label with what the models
    predict. With `probs` it trains nothing; with `classifier` it fits that one instead of a network.

    Args:
        data: what `load` takes: a name of `noisylabels list data`, a path, a pair (X, y), a data frame, a
            Hugging Face or PyTorch data set, a pair (train, test); or an `ImageSet` or a `FeatureSet`; or X
            alone, with `labels`. Examples in memory are audited in their order, and their ids are those of a
            column "id", or row:0, row:1, ... None with `labels` and `probs` alone.
        labels: for X alone, N labels of any kind, see `core.labels.read_labels`. For a name or a path, a file
            of corrected labels (.csv or .parquet of id and label), which replace those of the data.
        class_names: names of numeric labels, which index them from 0; by default the labels themselves. For
            data that name their classes, such as a path or a set, the same names in the order of the columns
            of `probs` without names.
        probs: (N, K) out-of-fold probabilities, or a file of them, see `read_probs`. The columns of a frame
            are matched with the classes by name, and its rows by its index, unless this just counts from 0:
            by the ids of the examples, or else by the index of the data, see `core.row_index.match_rows`. The
            columns of an array are in the order of the sorted classes, see `core.probabilities.match_probs`.
            Rows without ids or index are in the order of the arrays, of the rows of the file, or of the
            sorted paths of the images.
        out: folder to write into; nothing is written without one. The same call resumes a stopped audit from
            the last checkpoint of the current fold, and returns the audit once it is complete.
        part: "all": training and test part, in the order of the file or of the sorted paths; "train": the
            training part alone. A test part that was held out from one folder or table has as many label
            errors as the rest; nothing is held out from examples in memory.
        noise: noise to add first; summary["known"] then reports how well it was found.
        folds: number of folds.
        loss: "auto", or an expression.
        model: name of a model, as in a run.
        width: factor of the model's layer widths.
        features: the frozen encoder through which the audit looks at images and texts: "none", a name, see
            `noisylabels list encoders`; "auto" is the packaged encoder for photographs, if it is installed
            and neither `model` nor `width` is given, and for texts "minilm" if it is installed, else "tfidf".
            Given probabilities are judged without one.
        seed: seed of folds, weights, order, augmentation and noise.
        image_size, bad_images, label_column, id_column, text_column, data_root, download: as in `load`.
        trusted: labels that people have checked: a part of the data ("test"), a column of their table whose
            cells are true or false, a file of ids, or a list of ids; for arrays also a mask, bool (N,). They
            are never flagged, the estimated noise rate is that of the others, and summary["trusted"] reports
            how many of them the models predict.
        classifier: any classifier of scikit-learn's contract, such as HistGradientBoostingClassifier(), which
            is fitted once per fold in place of a network; or a name, see `experiment.classifiers.find_judge`.
            It is given X as it was passed (an array, a sparse matrix or a frame, also with missing values),
            and the encoded features of other data. Texts in a list, an array or a Series are given as they
            are if it takes texts (a pipeline that begins with a vectorizer) or `features` is "none".
        escape_formulas: put an apostrophe before cells of labels.csv that a spreadsheet would run as a
            formula.
        reporter: receives notes and progress. Without one, a `UserWarning` names classes that look like one,
            and rows, columns and files that are not used; `Audit.notes` has all notes on the data.
        stop: called after every step; `Interrupted` is raised once it returns true.
        settings: training settings: epochs, batch_size, lr, device, ...; see `Settings`.

    Returns:
        The audit.

    Raises:
        InputError: an argument cannot be used; nothing is written.
        TrainingDiverged: a loss or a logit was not finite; nothing is written.
        Busy: another process uses `out`.
        Interrupted: SIGINT or SIGTERM arrived, or `stop` returned true; the same call resumes.

    >>> import noisylabels as nl
    >>> labels = ["cat", "cat", "dog", "dog"] * 20
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9]] * 20
    >>> labels[7] = "cat"
    >>> found = audit_labels(labels=labels, probs=probs)
    >>> found.flagged.nonzero()[0].tolist(), found.class_names[found.suggested[7]]
    ([7], 'dog')
    """
    check_choice(part, PARTS, "part")
    check_choice(bad_images, ("fail", "skip"), "treatment of bad images")
    check_whole(folds, "folds", 2)
    subject = read_subject(
        data,
        labels=labels,
        class_names=class_names,
        probs=probs,
        part=part,
        noise=noise,
        seed=seed,
        image_size=image_size,
        bad_images=bad_images,
        label_column=label_column,
        id_column=id_column,
        text_column=text_column,
        data_root=data_root,
        download=download,
        features=features_for(seen_through(features, model, width), classifier, data, labels),
    )
    if str(getattr(trusted, "dtype", "")) in ("bool", "boolean"):
        trusted = match_mask([labels, *(data if isinstance(data, (tuple, list)) else [data])], trusted)
    how: dict[str, Any] = {"folds": folds, "loss": loss, "model": model, "width": width}
    if classifier is not None:
        how["classifier"] = classifier
    how |= {name: value for name, value in settings.items() if value is not None}
    job = Job(subject, how, subject.probs, reporter or Silent(), stop, trusted, escape_formulas)
    made = job.find(None)[0] if out is None else _in_folder(job, Path(out).expanduser())
    for note in made.notes if reporter is None else ():
        if note.startswith((_NOT_USED, LOOKALIKES)):
            warnings.warn(note, UserWarning, stacklevel=2)
    return made


def _in_folder(job: Job, folder: Path) -> Audit:
    """Run an audit in its folder, or return it if the folder holds it."""
    if (done := finished(folder, job.identity)) is not None:
        return job.unchanged(done, folder)
    with locked_folder(folder, "the audit's folder"):
        done = finished(folder, job.identity)  # again, now that no other process can finish it
        if done is not None:
            return job.unchanged(done, folder)
        try:
            return job.run_in(folder)
        except OSError as error:
            if not has_no_room(error):
                raise
            raise InputError(
                f"the audit's folder {folder} cannot be written: {error.strerror}; free some space and run "
                "the same command again, which keeps finished folds"
            ) from None


def default_out(subject: Subject, how: dict[str, Any], probs: object = None, trusted: object = None) -> Path:
    """Return the default folder of an audit: the name of the data and a hash of the settings."""
    job = Job(subject, how, probs, Silent(), lambda: False, trusted)
    text = json.dumps(job.identity, sort_keys=True)
    name = "".join(c if c.isalnum() or c in "+.@" else "_" for c in subject.name[:64])
    return Path("audits") / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def recipe_epochs() -> int:
    """Return how many epochs each model is trained by default."""
    epochs: int = RECIPE["epochs"]
    return epochs
