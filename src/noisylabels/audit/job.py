"""An audit whose arguments have been read: get out-of-fold probabilities, find label errors, write files."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit import issues
from noisylabels.audit.assessment import assess
from noisylabels.audit.audit_folder import FOLDER_OF_FOLDS, SETTINGS, remove_unfinished
from noisylabels.audit.audited_data import audited_set
from noisylabels.audit.blank import NO_TEXT, blank_rows, either, left_alone, with_content, with_reasons
from noisylabels.audit.classifier_judge import judge_by_classifier, rows_digest
from noisylabels.audit.cross_validation import LOSS, RECIPE, cross_validate
from noisylabels.audit.duplicates import with_same_ids
from noisylabels.audit.fingerprints import fingerprints
from noisylabels.audit.given_probs import digest, given_probs
from noisylabels.audit.image_paths import image_paths
from noisylabels.audit.inputs import Subject, without_columns
from noisylabels.audit.labels_before import labels_before
from noisylabels.audit.neighbors import find_neighbors
from noisylabels.audit.probability_files import GivenProbs
from noisylabels.audit.rare import FEWEST, TOO_RARE, rare_note, rare_rows
from noisylabels.audit.removal import to_remove
from noisylabels.audit.result import Audit
from noisylabels.audit.set_duplicates import duplicates_in
from noisylabels.audit.trusted import (
    Audited,
    find_trusted,
    identity,
    learnable,
    reasons,
    summary_of,
)
from noisylabels.audit.trusted_columns import column_of
from noisylabels.core.checks import InputError
from noisylabels.core.config import build
from noisylabels.core.files import (
    check_within,
    file_digest,
    remove_tree,
    write_json,
)
from noisylabels.core.opening import TEXT_BYTES
from noisylabels.core.positions import Positions, own
from noisylabels.core.spelling import spelling_notes
from noisylabels.data.text_columns import blank_note
from noisylabels.encoders.catalog import files_of
from noisylabels.encoders.embedding_files import is_embedding_file
from noisylabels.encoders.names import NONE
from noisylabels.experiment.auto_loss import AUTO
from noisylabels.experiment.reporter import Notes, Reporter
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checks import check_labels_probs
from noisylabels.noise.noise_rate import JUDGES, NETWORK
from noisylabels.training.settings import HOW, Settings

if TYPE_CHECKING:
    from noisylabels.data.features import Examples
    from noisylabels.experiment.classifiers import Judge

WHY = "robust, and learns in the few epochs of an audit"
"""Why `LOSS` is the default."""

NEIGHBORED = 200
"""At least so many examples of lowest label quality get nearest neighbors, and all flagged ones."""

_WHERE = ("data_root", "download")  # these locate the data and do not define the audit


class Job:
    """An audit whose arguments have been read."""

    def __init__(
        self,
        subject: Subject,
        how: dict[str, Any],
        probs: object,
        reporter: Reporter,
        stop: Callable[[], bool],
        trusted: object = None,
        escape_formulas: bool = False,
    ) -> None:
        self.subject, self.how, self.reporter, self.stop = subject, dict(how), reporter, stop
        self.probs, self.trusted, self.escape_formulas = probs, trusted, escape_formulas
        self.notes: list[str] = []
        asked = {name: value for name, value in subject.asked.items() if name not in _WHERE}
        if (labels := asked["labels"]) is not None:
            asked["labels"] = [labels, file_digest(Path(labels), most_bytes=TEXT_BYTES)]
        if digests := [file_digest(path) for path in files_of(asked.get("features", NONE))]:
            asked["features"] = [asked["features"], *digests]
        if subject.examples is not None:
            asked["data"] = subject.examples.digest
        elif subject.given is not None:
            numbers, names = subject.given
            head = json.dumps(names).encode()
            asked["data"] = hashlib.sha256(head + numbers.tobytes()).hexdigest()
        if trusted is not None:
            if asked["noise"] != "none":
                raise InputError(
                    "noise is added to all labels, so none can be trusted; leave out --noise or --trusted"
                )
            asked["trusted"] = identity(trusted)
        self.asked = asked
        self.judge: Judge | None = None
        if (classifier := self.how.pop("classifier", None)) is not None:
            self.judge = _judge(classifier, self.how, probs)
        if probs is None:
            if subject.given is not None:
                raise InputError("got labels but no data; pass data to train on, or probs")
            self._check_names()

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """The settings and the content of the data that define the audit; needed only for a folder."""
        if self.probs is None:
            judge: dict[str, Any] = {} if self.judge is None else {"classifier": self.judge.identity}
            if judge and self.subject.raw is not None:  # of which the features may hold only a part
                judge["rows"] = rows_digest(self.subject.raw)
            return {**self.asked, "probs": None, **_without(self.how, *HOW), **judge}
        columns = self.subject.columns
        named = {} if columns is None else {"class_names": list(columns)}
        return {**self.asked, **named, "probs": digest(self.probs)}

    def _check_names(self) -> None:
        """Raise an `InputError` for a wrong name or setting before the data are read, which may be slow."""
        from noisylabels.experiment.model_input import check_takes_features
        from noisylabels.losses.expression import loss
        from noisylabels.models.catalog import canonical_model, check_model

        if self.how["loss"] != AUTO:
            criterion = loss(self.how["loss"])
            if "two views" in criterion.needs:
                raise InputError(
                    f"the loss {self.how['loss']!r} compares two views of an image, but an audit has one; "
                    "use js"
                )
            self.how["loss"] = criterion.expression
        self.how["model"] = canonical_model(self.how["model"])
        check_model(self.how["model"])
        check_takes_features(self.how["model"], self.subject.asked.get("features", NONE))
        build(Settings, RECIPE, _without(self.how, "folds", "loss", "model", "width"))

    def run_in(self, folder: Path) -> Audit:
        """Run the audit in a folder that no other process uses, write its files, and return it."""
        from noisylabels.audit.page import page
        from noisylabels.training.loop import TrainingDiverged

        fresh = not (folder / SETTINGS).exists()
        check_within(folder / FOLDER_OF_FOLDS, folder)
        try:
            found, examples = self.find(folder)
        except (InputError, TrainingDiverged):
            if fresh:
                remove_unfinished(folder)
            raise
        found.save(folder, page(found, examples, folder), self.escape_formulas)
        remove_tree(folder / FOLDER_OF_FOLDS)
        return found

    def unchanged(self, done: Audit, folder: Path) -> Audit:
        """Return a finished audit after checking that its data have not changed."""
        if self.subject.asked["data"] is not None:
            notes = Notes(lambda _: None)  # the first run has already printed them
            notes.decoding = self.reporter.decoding  # type: ignore[method-assign]
            rows = "source_rows" in done.summary
            if not rows and done.summary["method"]["probs"] == "given":
                raise InputError(
                    f"{folder} holds an audit of version 0.1, which read rows without ids in the order of a "
                    f"hidden split; choose another --out, or {to_remove(folder, 'the folder')}"
                )
            examples, _ = audited_set(
                self.subject.asked, notes, by_rows=rows, need_features=self.probs is None
            )
            if examples.digest != done.summary["digest"]:
                raise InputError(
                    f"{self.subject.asked['data']} has changed since it was audited into {folder}; "
                    f"choose another --out, or {to_remove(folder, 'the folder')}"
                )
        again = to_remove(folder, "the folder")
        self.reporter.note(f"{folder} already holds this audit; {again} to audit again")
        if self.escape_formulas:  # the audit may have been made without
            try:
                done.write_csv(folder / "labels.csv", escape_formulas=True)
            except OSError as error:
                raise InputError(
                    f"{folder / 'labels.csv'} cannot be written again: {error.strerror or error}"
                ) from None
        return done

    def find(self, folder: Path | None) -> tuple[Audit, Examples | None]:
        """Return the audit and the audited set."""
        began = time.perf_counter()
        self.notes.clear()
        examples, true = self._examples()
        if examples is None:
            assert self.subject.given is not None
            labels, names = self.subject.given
            for note in spelling_notes(labels, names):
                self._note(note)
            ids: Sequence[str] = [str(i) for i in range(len(labels))]
        else:
            labels, names, ids = examples.labels.numpy(), examples.class_names, examples.ids
        trusted, source = None, ""
        if self.trusted is not None:
            about = Audited(self.subject.asked, examples, ids, labels, tuple(names), self.subject.name)
            trusted, source = find_trusted(self.trusted, about, self.reporter.note)
        positions = own(len(labels)) if examples is None else self._positions(examples)
        probs, embedded = None, None
        if self.probs is not None:
            known = None if examples is None else positions
            subject = self.subject
            how: dict[str, Any] = {"columns": subject.columns, "in_order": subject.in_order}
            how |= {"note": self._note, "id_column": subject.asked.get("id_column")}
            how["data_index"] = lambda: column_of("index", subject.asked, examples, ids, any_name=True)
            how["known"] = None if examples is None else lambda: fingerprints(examples)
            probs = given_probs(self.probs, labels, names, ids, known, subject.name, **how)
        if folder is not None and not (folder / SETTINGS).exists():
            write_json(folder / SETTINGS, self.identity)
        if probs is not None:
            predicted = _Predictions(
                probs.probs, probs.seen, None, {"probs": "given"}, probs.rule, probs.network
            )
        else:
            assert examples is not None
            embedded = self._embedded(learnable(examples, source))
            predicted = self._train(embedded, folder)
        groups = [] if examples is None else duplicates_in(learnable(examples, source), embedded, self._note)
        kind = "labels" if examples is None else _kind(examples)
        if kind == "features":
            groups = with_same_ids(groups, ids, labels)
        judges_blank = self._judges_blank(probs)
        blank = None if judges_blank or examples is None else blank_rows(learnable(examples, source))
        groups = groups if blank is None else with_content(groups, blank)
        rare = rare_rows(labels, len(names))
        unknown = either(blank, rare)
        spared = either(trusted, unknown)
        if spared is not None and spared.all():
            raise InputError(
                f"no label of {self.subject.name} is left to judge: all are checked by hand, of a class with "
                f"fewer than {FEWEST} examples, or without text; trust fewer, or add examples"
            )
        before = None if trusted is None else labels_before(self.subject.asked, ids, trusted, names)
        if before is not None and unknown is not None:
            before[unknown] = -1
        assessed = assess(
            labels,
            predicted.probs,
            predicted.seen,
            predicted.rule,
            spared,
            before,
            network=predicted.network,
        )
        counted = slice(None) if spared is None else np.flatnonzero(~spared)
        outside = predicted.probs.part(counted)
        estimated = issues.estimate(labels[counted], outside, assessed.rate, self.subject.asked["seed"])
        posterior = assessed.posterior
        same = "row" if kind == "features" else "image"
        left = unknown if unknown is None or trusted is None else unknown & ~trusted
        # a label that is not judged decides no conflict; one checked by hand does
        of_judged = groups if left is None else with_content(groups, left)
        found = issues.find_issues(posterior, names, ids, of_judged, same, spared)
        if left is not None:
            found = left_alone(found, left, estimated.rate)
        order = np.lexsort((np.arange(len(labels)), found.score, ~found.flagged))
        wanted = order[: max(int(found.flagged.sum()), NEIGHBORED)]
        neighbors = {}
        if examples is not None:
            from noisylabels.data.features import FeatureSet

            points = predicted.points
            if isinstance(embedded, FeatureSet) and embedded.embedding is not None:
                points = embedded.features.numpy()  # as similar as they look, not as the models judge them
            if points is None:
                points = predicted.probs.single()
            neighbors = find_neighbors(
                wanted, labels, found.suggested, found.score, found.flagged, points, groups
            )
        summary = {name: value for name, value in self.subject.asked.items() if name != "download"}
        summary |= {"digest": None if examples is None else examples.digest, "kind": kind}
        summary |= {"source_rows": positions.total}
        if examples is not None and not examples.inputs.shape[1] and getattr(examples, "texts", None) is None:
            summary["texts_alone"] = True
        if getattr(examples, "texts", None) is not None:
            summary["texts"] = True
        if discarded := self._left_out(names):
            summary["left_out"] = discarded
        summary |= {"method": predicted.method}
        summary |= issues.summarize(labels, assessed, found, estimated, names, groups, true)
        why: Sequence[str] = found.why
        if trusted is not None:
            summary["trusted"] = summary_of(trusted, source, labels, predicted.probs, before)
            why = reasons(why, trusted, labels, posterior, names)
        if blank is not None:
            self._note(blank_note(ids, blank, "not judged"))
            why = with_reasons(why, blank, trusted, NO_TEXT)
        if unknown is not None:
            summary["not_judged"] = np.flatnonzero(unknown).tolist()
        if rare is not None:
            self._note(rare_note(labels, names))
            why = with_reasons(why, rare, trusted, TOO_RARE)
        for conflict in summary["duplicates"]["conflicts"]:
            conflict["ids"] = [ids[i] for i in conflict["members"]]
        summary["notes"] = list(self.notes)
        summary["seconds"] = round(time.perf_counter() - began, 1)
        made = Audit(
            name=self.subject.name,
            class_names=tuple(names),
            ids=list(ids),
            given=labels,
            suggested=found.suggested,
            score=found.score,
            flagged=found.flagged,
            probs=posterior.kept(),
            why=why,
            summary=summary,
            neighbors=neighbors,
            paths=image_paths(self.subject.asked["data"], ids),
            true=true,
            trusted=trusted,
            before=before,
            index=positions.rows,
            out_of_fold=predicted.probs.values,
            seen=predicted.seen,
            rule=predicted.rule,
            judges_blank=judges_blank,
            network=predicted.network,
            probability_wrong=found.wrong,
            probability_suggested=found.right,
            fingerprints=None if examples is None else fingerprints(examples),
        )
        return made, examples

    def _examples(self) -> tuple[Examples | None, np.ndarray | None]:
        if self.subject.asked["data"] is None:
            for note in () if self.subject.examples is None else self.subject.examples.notes:
                self._note(note)
            return self.subject.examples, None
        notes = Notes(self._note)
        if self.subject.asked["part"] == "all":
            # the note about the held-out test part does not apply: the audit covers that part too
            notes = Notes(lambda text: None if "held out for testing" in text else self._note(text))
        notes.decoding = self.reporter.decoding  # type: ignore[method-assign]
        return audited_set(self.subject.asked, notes, need_features=self.probs is None)

    def _embedded(self, examples: Examples) -> Examples:
        """Return the features of the examples if the audit has an encoder, else the examples."""
        from noisylabels.encoders.catalog import chosen_for
        from noisylabels.encoders.embedding import embed_sets

        if self.subject.no_encoder and (line := chosen_for(examples)[1]):
            self._note(line)
        return embed_sets(
            [examples],
            self.subject.asked.get("features", NONE),
            device=self.how.get("device") or "auto",
            progress=self.reporter.decoding,
            note=self._note,
        )[0]

    def _judges_blank(self, probs: GivenProbs | None) -> bool:
        """Return whether rows are judged that have no text and nothing else to be judged by.

        Probabilities and features of the user's own may come from more than the table holds.
        """
        if probs is not None:
            return probs.judges_blank
        return is_embedding_file(self.subject.asked.get("features", NONE))

    def _left_out(self, class_names: Sequence[str]) -> list[str]:
        """Return the ids that the file of corrected labels leaves out."""
        from noisylabels.core.written_names import plain_name
        from noisylabels.data.corrections import left_out, read_corrections

        asked = self.subject.asked
        if asked["labels"] is None:
            return []
        place = Path(asked["data"])
        found = read_corrections(asked["labels"], class_names, asked.get("id_column"))
        return list(map(plain_name, left_out(found, place if place.is_dir() else place.parent)))

    def _note(self, text: str) -> None:
        """Report a note on the data, and keep it for the result."""
        self.notes.append(text)
        self.reporter.note(text)

    def _positions(self, examples: Examples) -> Positions:
        """Return where the examples lie in the data; a set that was passed is in an order of its own."""
        n, found = len(examples), examples.positions
        if found is None:
            return own(n)
        if self.subject.asked["data"] is not None:
            return found
        if found.rows is None:
            return own(n)
        if (np.diff(found.rows) > 0).all():
            return replace(found, whole=True, doubt="")
        return replace(own(n), doubt="the set is in another order than its file")

    def _train(self, examples: Examples, folder: Path | None) -> _Predictions:
        if len(np.unique(examples.labels.numpy())) < 2:
            raise InputError(
                f"all labels of {self.subject.name} are one class, expected 2 or more; add another class"
            )
        raw = None if self.judge is None else self.subject.raw
        if examples.inputs.ndim == 2 and not examples.inputs.shape[1] and raw is None:
            raise InputError(
                f"{self.subject.name} has only texts and no column to learn from; encode them "
                "(features='auto'), or pass probabilities (probs=)"
            )
        if self.judge is not None:
            return self._fit(self.judge, examples, folder)
        how, choice = dict(self.how), None
        if how["loss"] == AUTO:
            how["loss"], choice = LOSS, {"loss": LOSS, "why": WHY}
            self.reporter.note(f"loss {LOSS}: {WHY}")
        known = cross_validate(
            examples,
            folder=None if folder is None else folder / FOLDER_OF_FOLDS,
            reporter=self.reporter,
            stop=self.stop,
            seed=self.subject.asked["seed"],
            **how,
        )
        method = {"probs": "trained", **known.settings, "train_seconds": round(known.seconds, 1)}
        method["choice"] = choice
        if (embedding := getattr(examples, "embedding", None)) is not None:
            method["embedding"] = dict(embedding)
        probs, _ = check_labels_probs(known.labels, known.probs)
        network = known.network if known.rule == JUDGES else None
        return _Predictions(probs, known.seen, known.features, method, known.rule, network)

    def _fit(self, judge: Judge, examples: Examples, folder: Path | None) -> _Predictions:
        """Return the predictions of a classifier; it has no training dynamics."""
        embedded, raw = getattr(examples, "embedding", None) is not None, self.subject.raw
        if isinstance(self.trusted, str) and hasattr(raw, "columns"):
            raw = without_columns(raw, [self.trusted])  # as `learnable`: it tells which labels are right
        probs, method = judge_by_classifier(
            judge,
            examples,
            None if embedded else raw,
            folds=self.how["folds"],
            seed=self.subject.asked["seed"],
            folder=None if folder is None else folder / FOLDER_OF_FOLDS,
            reporter=self.reporter,
            stop=self.stop,
        )
        labels = examples.labels.numpy()
        checked, _ = check_labels_probs(labels, probs)
        return _Predictions(checked, None, None, method)


@dataclass(frozen=True, eq=False)
class _Predictions:
    """The models' predictions out of fold and during training, with what they come from."""

    probs: CheckedProbs
    seen: np.ndarray | None
    points: np.ndarray | None
    method: dict[str, Any]
    rule: str = NETWORK
    network: np.ndarray | None = None


def _judge(classifier: object, how: dict[str, Any], probs: object) -> Judge:
    """Return the classifier to audit with, after checking that no other argument contradicts it."""
    from noisylabels.experiment.classifiers import find_judge

    if probs is not None:
        raise InputError("got a classifier and probs; pass one of them: probs are judged as they are")
    plain = {"folds", "device", "precision"} | {
        name for name, value in (("loss", AUTO), ("model", "auto"), ("width", None)) if how.get(name) == value
    }
    if unused := [name for name in how if name not in plain]:
        raise InputError(f"{unused[0]} is a setting of networks; leave it out with a classifier")
    return find_judge(classifier)


def _kind(examples: Examples) -> str:
    return "images" if examples.inputs.ndim == 4 else "features"


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
