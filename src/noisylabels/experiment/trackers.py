"""Trackers: TensorBoard and MLflow follow the folder of a run.

The folder is what a run is; a tracker is brought to what it says and never asked. Each has one method,
`follow`, which does only what is missing, so that a run that was killed, resumed, copied or finished long ago
ends with every epoch once.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import re
import shlex
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.files import atomic_replace, exclusive_lock
from noisylabels.experiment.folder import RunResult
from noisylabels.experiment.reporter import Reporter, Silent
from noisylabels.experiment.snapshot import RunSnapshot, read_snapshot
from noisylabels.training.callbacks import Callback, StepResult
from noisylabels.training.history import History

MOST_METRICS = 1000
"""That MLflow takes at once."""

_RUN_ID = "noisylabels.run_id"


class Tracker(Protocol):
    """Somebody who keeps a copy of the story."""

    @property
    def where(self) -> str:
        """How to look at it, in one line; known once `follow` has been called."""

    def follow(self, snapshot: RunSnapshot) -> None:
        """Add what is missing; the first call also looks at what is there already."""


class TensorBoard:
    """Writes one event file into the folder `tensorboard` of a run.

    Its bytes follow from the run's folder, times included: a file that they begin with, wherever it was cut
    off, is completed, and any other is replaced.
    """

    def __init__(self) -> None:
        importlib.import_module("tensorboard.summary.writer.record_writer")
        self.where = ""
        self._file: Path | None = None
        self._epochs = 0  # that are in it

    def follow(self, snapshot: RunSnapshot) -> None:
        """Write the events that are missing."""
        if self._file is None:
            events = _head(snapshot) + _events(snapshot)
            self._file = _take_over(snapshot.out / "tensorboard", snapshot.run_id, events)
        else:
            with self._file.open("ab") as file:
                file.write(_events(snapshot, self._epochs))
        self._epochs = len(snapshot.epochs)
        self.where = f"tensorboard --logdir {shlex.quote(str(snapshot.out.parent))}"


def _take_over(folder: Path, run_id: str, events: bytes) -> Path:
    """Return the one event file in `folder`, which then holds `events`."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    there = files[-1].read_bytes() if files else b""
    if there and events.startswith(there):
        file = files[-1]
        if len(there) < len(events):
            with file.open("ab") as end:
                end.write(events[len(there) :])
    else:
        # under a later name, to which a TensorBoard that is being looked at goes on
        file = folder / f"events.out.tfevents.{time.time():.6f}.{run_id}"
        with atomic_replace(file) as temporary:
            temporary.write_bytes(events)
    for old in {*files, *folder.glob(".events.*.tmp")} - {file}:
        old.unlink(missing_ok=True)
    return file


def _head(snapshot: RunSnapshot) -> bytes:
    """Return what comes before the epochs in an event file: the settings, as hyperparameters."""
    from tensorboard.compat.proto.event_pb2 import SessionLog
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

    start = SessionStartInfo(start_time_secs=snapshot.began, group_name=snapshot.run_id)
    for name, value in snapshot.settings.items():
        if isinstance(value, bool):  # which is an int too
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        elif value is not None:
            start.hparams[name].string_value = value
    return (
        _record(snapshot.began, file_version="brain.Event:2")
        # drops what was shown of a file that this one replaces
        + _record(snapshot.began, session_log=SessionLog(status=SessionLog.START))
        + _record(snapshot.began, summary=_hparams(metadata.SESSION_START_INFO_TAG, session_start_info=start))
    )


def _events(snapshot: RunSnapshot, since: int = 0) -> bytes:
    """Return the epochs after the first `since`, and the end if it has come."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo
    from tensorboard.plugins.text.summary_v2 import text_pb

    records = []
    for epoch, at, values in snapshot.epochs[since:]:
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        records.append(_record(at, step=epoch, summary=Summary(value=scalars)))
    if snapshot.ended:
        text = text_pb("result", f"```json\n{snapshot.result}\n```")
        end = SessionEndInfo(
            status=STATUS_SUCCESS if snapshot.status == "done" else STATUS_FAILURE,
            end_time_secs=snapshot.last,
        )
        records.append(_record(snapshot.last, step=len(snapshot.epochs), summary=text))
        summary = _hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)
        records.append(_record(snapshot.last, summary=summary))
    return b"".join(records)


def _record(at: float, **what: Any) -> bytes:
    """Return an event with its length and checksums, as it stands in a file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    # not the package's EventFileWriter: it writes from a thread, in which a full disk goes unnoticed
    file = io.BytesIO()
    RecordWriter(file).write(Event(wall_time=at, **what).SerializeToString(deterministic=True))
    return file.getvalue()


def _hparams(tag: str, **what: Any) -> Any:
    """Return a summary for the table of hyperparameters; the package's own function imports TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **what)
    plugin = SummaryMetadata.PluginData(
        plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString(deterministic=True)
    )
    about = SummaryMetadata(plugin_data=plugin)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


class MLflow:
    """Logs into the store that MLFLOW_TRACKING_URI names, else into a local SQLite file.

    The MLflow run is found by its tag noisylabels.run_id. MLflow cannot take a number back: one that holds
    others than the run's folder, such as of an earlier try, is deleted, and another takes its place.
    """

    STATUS: ClassVar = {"running": "RUNNING", "stopped": "KILLED", "done": "FINISHED", "failed": "FAILED"}

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # else a server that has gone holds the training up for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("mlflow")
            if not os.environ.get("MLFLOW_TRACKING_URI"):
                for name in ("sqlalchemy", "alembic"):  # which the light package comes without
                    importlib.import_module(name)
        self.where = ""
        self._client: Any = None
        self._run = ""
        self._status = ""
        self._there: set[tuple[str, int]] = set()  # names and epochs

    def follow(self, snapshot: RunSnapshot) -> None:
        """Log what is missing."""
        from mlflow.entities import Metric

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's, of how MLflow uses it
            if self._client is None:
                self._open(snapshot)
            metrics = [
                Metric(name, value, round(1000 * at), epoch)
                for epoch, at, values in snapshot.epochs
                for name, value in values.items()
                if (name, epoch) not in self._there
            ]
            for k in range(0, len(metrics), MOST_METRICS):
                self._client.log_batch(self._run, metrics=metrics[k : k + MOST_METRICS])
            self._there |= {(metric.key, metric.step) for metric in metrics}
            if (status := self.STATUS[snapshot.status]) != self._status:
                if snapshot.ended:
                    self._client.set_tag(self._run, "noisylabels.result", snapshot.result)
                if snapshot.status == "running":
                    self._client.update_run(self._run, status)
                else:
                    self._client.set_terminated(self._run, status, round(1000 * snapshot.last))
                self._status = status

    def _open(self, snapshot: RunSnapshot) -> None:
        """Find the run, or make it."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # tables made: nothing to say
        study = (snapshot.out.parent / "study.json").exists()
        folder = snapshot.out.parent.resolve() if study else Path.cwd()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        lock = (snapshot.out.parent if uri else folder) / ".mlflow.lock"
        uri = uri or f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or (folder.name if study else "noisylabels")
        with exclusive_lock(lock, seconds=60):  # MLflow makes its tables badly from two processes at once
            client = MlflowClient(uri)
            experiment = _experiment(client, name)
            run = None
            for found in client.search_runs([experiment], f"tags.`{_RUN_ID}` = '{snapshot.run_id}'"):
                if run is None and (points := _points(client, found, snapshot)) is not None:
                    run, self._there, self._status = found, points, found.info.status
                else:
                    client.delete_run(found.info.run_id)
            if run is None:
                tags = {_RUN_ID: snapshot.run_id, "noisylabels.folder": str(snapshot.out.resolve())}
                run = client.create_run(experiment, round(1000 * snapshot.began), tags, snapshot.out.name)
        params = [
            Param(name, str(value))
            for name, value in snapshot.settings.items()
            if name not in run.data.params
        ]
        if params:
            client.log_batch(run.info.run_id, params=params)
        self._client, self._run = client, run.info.run_id
        self.where = f"MLflow, experiment {name!r} of {_without_password(uri)}"


def _experiment(client: Any, name: str) -> str:
    """Return the id of the experiment of that name."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another process was faster
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    return str(found.experiment_id)


def _points(client: Any, run: Any, snapshot: RunSnapshot) -> set[tuple[str, int]] | None:
    """Return names and epochs that an MLflow run has, or None if one of its numbers is not the story's."""
    wanted = {(name, epoch): value for epoch, _, values in snapshot.epochs for name, value in values.items()}
    names = {name for name, _ in wanted}
    last = snapshot.epochs[-1][2] if snapshot.epochs else {}
    if (
        snapshot.ended
        and run.info.status == MLflow.STATUS[snapshot.status]
        and last.items() <= run.data.metrics.items()
    ):
        return set(wanted)  # the status is set once all is logged: no need to ask for every number
    there: set[tuple[str, int]] = set()
    for name in names & run.data.metrics.keys():  # others are somebody else's
        for point in client.get_metric_history(run.info.run_id, name):
            at = (name, point.step)
            if at in there or wanted.get(at) != point.value:
                return None
            there.add(at)
    return there


def _without_password(uri: str) -> str:
    """Return a URI, or a text with one, for people to see.

    >>> _without_password("https://me:secret@example.org/mlflow")
    'https://example.org/mlflow'
    """
    return re.sub(r"(?<=://)[^/@\s]*@", "", uri)


TRACKERS: dict[str, Callable[[], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


class Tracked(Callback):
    """A callback that reports progress, and lets trackers follow the run after every checkpoint.

    A tracker that fails (a full disk, a server that has gone) does not end the run: a note says so, once,
    and it is tried again when the run ends.

    Args:
        reporter: told how the run goes.
        names: of `TRACKERS`.
        out: the folder of the run.

    Raises:
        InputError: there is no such tracker, or its package is not installed.
    """

    def __init__(self, reporter: Reporter, names: Sequence[str], out: Path) -> None:
        self.reporter = reporter
        self.out = out
        self.class_names: Sequence[str] = ()
        self.trackers = open_trackers(names)
        self.resting: set[str] = set()  # those that failed
        self._told: set[str] = set()

    def note(self, text: str) -> None:
        """Pass it on."""
        self.reporter.note(text)

    def decoding(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        self.reporter.decoding(what, done, total)

    def step(self, epoch: int, done: int, total: int) -> None:
        """Pass it on."""
        self.reporter.step(epoch, done, total)

    def epoch(self, row: dict[str, Any]) -> None:
        """Pass it on."""
        self.reporter.epoch(row)

    def on_note(self, text: str) -> None:
        """Pass a note on."""
        self.reporter.note(text)

    def on_step(self, step: StepResult) -> None:
        """Report a step."""
        self.reporter.step(step.epoch, step.done, step.total)

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Report an epoch."""
        self.reporter.epoch(row)

    def on_saved(self, history: History) -> None:
        """Let trackers follow up to the checkpoint; what comes after it may be done again."""
        self.follow("running")

    def end(self, result: RunResult) -> None:
        """Let trackers follow a run to its end."""
        self.class_names = result.class_names
        self.follow(result.status, result)

    def follow(self, status: str, result: RunResult | None = None) -> None:
        """Bring trackers to what the folder says."""
        if not self.trackers:
            return
        snapshot = read_snapshot(self.out, self.class_names, status, result)
        for name, tracker in self.trackers.items():
            if name in self.resting and status == "running":
                continue
            try:
                tracker.follow(snapshot)
                self._tell(f"tracked: {tracker.where}")
            except Exception as error:  # whatever it is, the run is worth more
                self.trackers[name] = TRACKERS[name]()  # which will look at what came of it
                if name not in self.resting:
                    cause = _without_password(f"{type(error).__name__}: {error}".splitlines()[0])[:200]
                    self.note(f"{name} cannot follow ({cause}); the same command, later, lets it catch up")
                self.resting.add(name)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.note(text)


def open_trackers(names: Sequence[str]) -> dict[str, Tracker]:
    """Return the trackers of these names.

    Raises:
        InputError: there is no such tracker, or its package is not installed.
    """
    trackers = {}
    for name in (names,) if isinstance(names, str) else names:
        make = TRACKERS[check_choice(name, TRACKERS, "tracker")]
        try:
            trackers[name] = make()
        except ImportError as error:
            raise InputError(
                f"the tracker {name} is not installed ({error}): pip install 'noisylabels[track]'"
            ) from None
    return trackers


def catch_up(result: RunResult, names: Sequence[str], reporter: Reporter | None = None) -> None:
    """Bring trackers to what the folder of a finished run says; what they have already stays.

    Args:
        result: of the run.
        names: tensorboard, mlflow.
        reporter: told where they are.

    Raises:
        InputError: there is no such tracker, its package is not installed, or the folder cannot be written.
        Busy: another process is at work in the folder.
    """
    tracked = Tracked(reporter or Silent(), names, result.path)
    if tracked.trackers:
        try:
            with exclusive_lock(result.path / ".lock"):  # two at once would make two runs in MLflow
                tracked.end(result)
        except OSError as error:
            raise InputError(f"the run's folder {result.path} cannot be written: {error.strerror}") from None
