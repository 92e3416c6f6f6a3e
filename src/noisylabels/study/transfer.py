"""Run a cell of a study whose store has no folder: in a folder of this machine that is kept up to date there.

What the run writes is sent while it runs, so that another machine goes on from the last checkpoint sent. The
result is sent last: a cell with a result is complete.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisylabels.core.checks import Busy, InputError
from noisylabels.core.files import (
    link_or_copy,
    make_folder,
    read_json,
    remove_file,
    remove_tree,
    write_text,
)
from noisylabels.experiment.folder import FILES
from noisylabels.study.copies import home_of, run_folder
from noisylabels.study.leases import give_back, has, look, take
from noisylabels.study.objects import Entry, Objects, Unreachable, open_objects

SEND_SECONDS = 30.0
"""Time between looks at what a run has written."""

AT_END = ("model.safetensors", "result.json")
"""Files that are sent with the end of a run only."""

_SENT = ".sent"  # marks a folder of which the store has, or had, a part


class Copy:
    """The folder of a run on this machine, and its copy in the store.

    Args:
        objects: the store.
        cell: name of the cell.
        folder: the folder of the run.
        runner: id of the lease by which a runner has the cell.
    """

    def __init__(self, objects: Objects, cell: str, folder: Path, runner: str) -> None:
        self.objects, self.cell, self.folder, self.runner = objects, cell, folder, runner
        self.lost = False  # another runner has the cell
        self._sent: dict[str, tuple[int, int, int] | None] = {}
        self._sending = threading.Lock()

    def fetch(self, there: Mapping[str, Entry]) -> None:
        """Bring the folder to the state of the store, unless it is ahead, as after a failure to send."""
        sent = (self.folder / _SENT).exists()
        if (self.folder / "result.json").exists() or ("config.json" not in there and not sent):
            return
        history, theirs = self.folder / "history.jsonl", there.get("history.jsonl")
        ours = history.stat().st_size if history.exists() else -1
        if "config.json" in there and ours >= (theirs.size if theirs else 0):
            return
        remove_tree(self.folder)  # also if the store has nothing any more, as after --retry
        make_folder(self.folder)
        for name in sorted(FILES, key="history.jsonl".__eq__):  # last: its size shows how far the folder is
            if name in there:
                self.objects.get(f"{self.cell}/{name}", self.folder / name, there[name].size)
                self._sent[name] = _stamp(self.folder / name)
        if "config.json" in there:
            write_text(self.folder / _SENT, "")

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Send what the run writes, now and then, during the block."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(SEND_SECONDS):
                with contextlib.suppress(InputError, OSError):  # the next try may succeed
                    self.send([name for name in FILES if name not in AT_END])

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def send(self, names: Collection[str]) -> None:
        """Send the files of these names that have changed, the result last; set `lost` instead if need be.

        Raises:
            FileExistsError: the store has a result already.
        """
        with self._sending:
            stamps = {name: _stamp(self.folder / name) for name in names}
            new = {name: stamp for name, stamp in stamps.items() if stamp not in (None, self._sent.get(name))}
            if not new or self.lost:
                return
            there = look(self.objects, self.cell)
            if not has(there, self.runner):
                self.lost = True
                return
            if "result.json" in there:
                raise FileExistsError
            write_text(self.folder / _SENT, "")
            self.objects.each(self._put, [name for name in new if name != "result.json"])
            if "result.json" in new:
                self._put("result.json")
            self._sent |= new
            if "result.json" in new and "checkpoint.pt" in there:
                self.objects.delete(f"{self.cell}/checkpoint.pt")

    def _put(self, name: str) -> None:
        """Send a file as it is now: the run may replace it meanwhile."""
        still = self.folder / f".{name}.sending"
        remove_file(still)
        with contextlib.suppress(FileNotFoundError):
            link_or_copy(self.folder / name, still)
            try:
                self.objects.put(still, f"{self.cell}/{name}", new=name == "result.json")
            finally:
                remove_file(still)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced; None without it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def carry_out_at(
    where: Mapping[str, str],
    config: Mapping[str, Any],
    stop: Callable[[], bool],
    track: Sequence[str],
    carry_out: Callable[..., dict[str, str]],
) -> dict[str, str]:
    """Run a cell of a study at a URL, and return the answer of `worker.carry_out`, or an answer like it.

    An answer done or failed has `progress` too: epoch, accuracy and seconds as JSON. What cannot be sent is
    kept in the folder of this machine, and sent by the next run of the cell here.

    Args:
        where: url of the study, name of the cell, id of its lease (runner).
        config: the configuration.
        stop: asked after every step whether to stop.
        track: names of trackers.
        carry_out: runs a cell in a folder.
    """
    try:
        objects = open_objects(where["url"])
        home = home_of(where["url"])
        there = take(objects, where["cell"], where["runner"], home)
    except Busy as error:
        return {"status": "busy", "message": str(error), "notes": ""}
    except InputError as error:
        return {"status": "full", "message": str(error), "notes": ""}
    copy = Copy(objects, where["cell"], run_folder(home, where["cell"]), where["runner"])
    try:
        if "result.json" in there:
            remove_tree(copy.folder)
            return {"status": "found", "message": "", "notes": ""}
        return _run(copy, there, config, stop, track, carry_out)
    finally:
        if not copy.lost:
            give_back(objects, where["cell"], where["runner"])


def _run(
    copy: Copy,
    there: Mapping[str, Entry],
    config: Mapping[str, Any],
    stop: Callable[[], bool],
    track: Sequence[str],
    carry_out: Callable[..., dict[str, str]],
) -> dict[str, str]:
    try:
        copy.fetch(there)
    except (Unreachable, InputError) as error:
        return {"status": "full", "message": str(error), "notes": ""}
    with copy.sending():
        own = dict(config) | {"out": str(copy.folder)}
        answer = carry_out(own, lambda: copy.lost or stop(), track)
    if answer["status"] == "found":  # it had ended here, but was not sent
        answer["status"] = "done"
    if answer["status"] in ("busy", "full"):
        return answer
    if answer["status"] in ("damaged", "refused"):
        remove_tree(copy.folder)
        return answer
    try:
        progress = _progress(copy.folder)
        copy.send(FILES)
    except FileExistsError:
        remove_tree(copy.folder)
        notes = f"another runner finished {copy.cell} first; its result is kept"
        return {"status": "found", "message": "", "notes": notes}
    except InputError as error:
        kept = f"{copy.folder} keeps what was computed, and the same command on this machine sends it"
        return answer | {"status": "full", "message": f"{error}; {kept}"}
    if copy.lost:
        return answer | {"status": "busy", "message": "another runner took this one for dead"}
    remove_tree(copy.folder)
    return answer | progress


def _progress(folder: Path) -> dict[str, str]:
    """Return what a runner shows of a cell that has ended."""
    if not (folder / "result.json").exists():
        return {}
    result = read_json(folder / "result.json")
    final = result["final"] or {}
    seconds = result["train_seconds"] + result["eval_seconds"]
    found = {"epoch": result["epochs"], "accuracy": final.get("test_accuracy"), "seconds": seconds}
    return {"progress": json.dumps(found)}
