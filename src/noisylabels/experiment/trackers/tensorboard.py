"""The TensorBoard tracker."""

from __future__ import annotations

import importlib
import io
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noisylabels.core.files import atomic_replace, make_folder, remove_file
from noisylabels.core.opening import open_in_place, read_bytes
from noisylabels.experiment.snapshot import RunSnapshot
from noisylabels.experiment.trackers.tracker import Tracker


class TensorBoard(Tracker):
    """Writes one event file into the folder `tensorboard` of a run.

    The run's folder determines its bytes, times included: a file that is a prefix of them, wherever it was
    cut off, is completed; any other is replaced.
    """

    name = "tensorboard"

    def __init__(self, out: Path, notify: Callable[[str], None]) -> None:
        super().__init__(out, notify)
        self._file = out
        self._epochs = 0  # that it holds
        self._complete = False

    @staticmethod
    def check() -> None:
        """Import TensorBoard's writer."""
        importlib.import_module("tensorboard.summary.writer.record_writer")

    def open(self, snapshot: RunSnapshot) -> None:
        """Write the event file up to the snapshot, or what it lacks of that."""
        events = _head(snapshot) + _events(snapshot)
        self._file = _take_over(
            make_folder(snapshot.out / "tensorboard", snapshot.out), snapshot.run_id, events
        )
        self._epochs, self._complete = len(snapshot.epochs), snapshot.ended
        self.where = f"tensorboard --logdir {shlex.quote(str(snapshot.out.parent))}"

    def add(self, snapshot: RunSnapshot) -> None:
        """Append the events of later epochs, and of the end."""
        if not self._complete and (events := _events(snapshot, self._epochs)):
            with open_in_place(self._file, "ab") as file:
                file.write(events)
        self._epochs, self._complete = len(snapshot.epochs), snapshot.ended


def _take_over(folder: Path, run_id: str, events: bytes) -> Path:
    """Return the one event file in `folder`, which then holds `events`."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    there = read_bytes(files[-1]) if files else b""
    if there and events.startswith(there):
        file = files[-1]
        if len(there) < len(events):
            with open_in_place(file, "ab") as end:
                end.write(events[len(there) :])
    else:
        # under a later name, to which a TensorBoard that shows the folder moves on
        file = folder / f"events.out.tfevents.{time.time():.6f}.{run_id}"
        with atomic_replace(file) as temporary:
            temporary.write_bytes(events)
    for old in {*files} - {file}:
        remove_file(old)
    return file


def _head(snapshot: RunSnapshot) -> bytes:
    """Return the start of an event file, before the epochs: the settings, as hyperparameters."""
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
        # makes TensorBoard drop what it shows of a file that this one replaces
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
    """Return an event as a file holds it, with length and checksums."""
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
