"""Out-of-fold probabilities of a classifier for an audit: its rows, and folds that are kept for a resume."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.columnar import read_array
from noisylabels.core.files import atomic_replace
from noisylabels.experiment.classifier_probs import classifier_probs, count_rows
from noisylabels.experiment.equal_examples import first_equals
from noisylabels.experiment.reporter import Reporter, announce

if TYPE_CHECKING:
    from noisylabels.data.features import Examples
    from noisylabels.experiment.classifiers import Judge


def judge_by_classifier(
    judge: Judge,
    examples: Examples,
    rows: Any = None,
    *,
    folds: int,
    seed: int,
    folder: Path | None,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return out-of-fold probabilities, (N, K) float64, and how they were made.

    Args:
        judge: the classifier.
        examples: the audited set with its given labels.
        rows: N rows to fit to, as the caller passed them; by default the features of the set, or the pixels
            of its images in [0, 1], flattened.
        folds, seed: see `classifier_probs`.
        folder: where finished folds are kept, so that the same call resumes after the last one.
        reporter: receives notes.
        stop: called between folds; `Interrupted` is raised once it returns true.

    Raises:
        InputError: as `classifier_probs`.
        Interrupted: Ctrl-C, or `stop` returned true.
    """
    from noisylabels.core.interrupt import Interrupted

    labels, names = examples.labels.numpy(), examples.class_names
    X = rows_of(examples) if rows is None else rows
    if count_rows(X) != len(labels):
        raise InputError(f"got {count_rows(X)} rows for {len(labels)} examples, expected one per example")
    copies = first_equals(examples, folds)
    named = f"{examples.digest} {folds} {seed}"
    if rows is not None and folder is not None:  # the features of the set may hold less than these rows
        named += f" {rows_digest(rows)}"
    if copies is not None:  # folds of earlier versions, which separated copies, have another name
        named += " copies in one fold"
    content = hashlib.sha256(named.encode()).hexdigest()[:16]
    began, finished = time.perf_counter(), 0

    def file_of(fold: int) -> Path | None:
        return None if folder is None else folder / f"classifier-{content}-{fold}.npz"

    def kept(fold: int) -> np.ndarray | None:
        nonlocal finished
        if stop():
            raise Interrupted(finished, 0, f"after {finished} of {folds} folds")
        if (file := file_of(fold)) is None or not file.exists():
            return None
        try:
            found = read_array(file, "probs")  # an archive, which has a checksum
        except InputError:
            raise CorruptedFile(f"{file} is damaged; remove it to fit its fold again") from None
        finished += 1
        reporter.note(f"fold {fold + 1} of {folds} is already fitted")
        return found

    def keep(fold: int, probs: np.ndarray) -> None:
        nonlocal finished
        finished += 1
        if (file := file_of(fold)) is not None:
            with atomic_replace(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, probs=probs)

    announce(
        reporter, f"fitting {judge.name} to {len(labels):,} examples in {len(names)} classes: {folds} folds"
    )
    try:
        probs = classifier_probs(
            judge.classifier,
            X,
            labels,
            len(names),
            folds=folds,
            seed=seed,
            class_names=names,
            copies=copies,
            kept=kept,
            keep=keep,
        )
    except KeyboardInterrupt:
        raise Interrupted(finished, 0, f"after {finished} of {folds} folds") from None
    method = {"probs": "classifier", "classifier": judge.name, **judge.identity, "folds": folds, "seed": seed}
    return probs, method | {"train_seconds": round(time.perf_counter() - began, 1)}


def rows_digest(rows: Any) -> str:
    """Return a hash of rows as a caller passed them: an array, a sparse matrix, or a frame, in hexadecimal.

    >>> rows_digest(np.array([[1e9], [0.0]])) == rows_digest(np.array([[1e9 + 1], [0.0]]))
    False
    """
    found = hashlib.sha256()
    if hasattr(rows, "columns"):
        columns = rows.items() if hasattr(rows, "items") else zip(rows.columns, rows, strict=True)
        for name, column in columns:
            _add(found, repr(name), column)
    elif hasattr(rows, "tocsr"):
        whole = rows.tocsr(copy=True)
        whole.sum_duplicates()
        for part in (np.array(whole.shape), whole.indptr.astype(np.int64), whole.indices.astype(np.int64)):
            _add(found, "", part)
        _add(found, "", whole.data)
    else:
        _add(found, "", rows)
    return found.hexdigest()


def _add(found: Any, name: str, values: Any) -> None:
    """Add an array, or a column of a frame, to a hash."""
    kind = getattr(values, "dtype", None)
    ordered = getattr(kind, "categories", "")  # of which a classifier may use the order
    found.update(f"{name} {kind} {list(ordered)} {getattr(values, 'shape', ())}".encode("utf-8", "replace"))
    if isinstance(kind, np.dtype) and not kind.hasobject:
        found.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    else:
        cells = values.to_list() if hasattr(values, "to_list") else values.tolist()
        plain = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
        found.update(repr(plain).encode("utf-8", "surrogatepass"))


def rows_of(examples: Examples) -> np.ndarray:
    """Return what a classifier is fitted to: features, or flattened pixels in [0, 1], float32 (N, D).

    >>> from noisylabels.data.features import feature_set
    >>> rows_of(feature_set([[0.5], [2.0]], [0, 1], ("cat", "dog"))).tolist()
    [[0.5], [2.0]]
    """
    from noisylabels.data.pixel_source import in_memory

    inputs = in_memory(examples.inputs, "a classifier on pixels")
    if inputs.ndim == 2:
        features: np.ndarray = inputs.numpy()
        return features
    pixels: np.ndarray = inputs.flatten(1).numpy().astype(np.float32) / 255
    return pixels
