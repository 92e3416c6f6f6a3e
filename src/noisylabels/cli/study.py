"""``noisylabels study``: run a grid of losses, noises and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from noisylabels.cli import output

if TYPE_CHECKING:
    from noisylabels.study.executors import Executor
    from noisylabels.study.grid import Cell, Study
    from noisylabels.study.restoring import Found
    from noisylabels.study.store import CellState, Store


@dataclass
class StudyCommand:
    """Run a study: every combination of its losses, noises and seeds.

    Each combination (a cell) is a run. Running the same command again resumes a stopped study and repeats no
    finished cell.

    For example:
        noisylabels study show digits
        noisylabels study run digits --jobs 2
        noisylabels study run paper --data cifar10 --time-budget 9m --shard 2/5
        noisylabels study run paper --data cifar10 --from paper.parquet
        noisylabels study status runs/digits
        noisylabels study export runs/digits --file digits.parquet
    """

    action: Annotated[Literal["run", "show", "status", "export"], tyro.conf.Positional]
    """run: start or resume the study; show: list its cells and estimate their time; status: report its
    progress; export: write all results to one file"""
    study: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
    """digits, tenth, frozen, paper, ma2020, human, or the path of a TOML file; for status and export also
    the folder or the URL of a study"""
    out: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """folder of the study (default: runs/ and its name); to merge such folders, copy them into one; or a URL
    such as s3://bucket/digits (pip install '.[remote]' in a clone), see docs/study-cluster.md"""
    data: str | None = None
    """as in `noisylabels train`"""
    data_root: str | None = None
    """as in `noisylabels train`"""
    device: str | None = None
    """as in `noisylabels train`"""
    record: str | None = None
    """as in `noisylabels train`"""
    labels: str | None = None
    """file of human annotations, for a study that needs one"""
    set: tuple[str, ...] = ()
    """settings that override those of the study, as in --set epochs=5 precision=bfloat16"""
    only: tuple[str, ...] = ()
    """select cells by values of the axes (* matches any text), as in --only loss=ce,nce+mae noise=symmetric:*
    seed=1"""
    jobs: int | None = None
    """number of processes (default: one per usable core, 2 on a GPU; 0: this process, for debugging)"""
    threads: int = 1
    """threads per process; with 1, results do not depend on --jobs; with more, rounding differs"""
    executor: Literal["processes", "ray"] = "processes"
    """where cells run: in processes of this machine, or as tasks of a Ray cluster (pip install
    '.[ray]' in a clone), where --jobs is the largest number at a time (default: as many as fit)"""
    address: str | None = None
    """for ray: the cluster, auto for one that runs on this machine (default: RAY_ADDRESS, else a running one,
    else one of its own)"""
    cpus_per_cell: float | None = None
    """for ray: processors, and threads, per cell (default: 1)"""
    gpus_per_cell: float | None = None
    """for ray: GPUs per cell; 0.25 lets four cells share one (default: 0)"""
    time_budget: str | None = None
    """time after which checkpoints are written and the study stops, such as 90s, 9m or 1h30m; the same
    command resumes it"""
    shard: str | None = None
    """run one part of the cells, such as 2/5, the second of five, to divide a study among machines"""
    from_: Annotated[tuple[Path, ...], tyro.conf.arg(name="from")] = ()
    """for run and show: files written by `study export`, whose finished cells are restored, not run"""
    retry: bool = False
    """run failed cells again"""
    track: tuple[str, ...] = ()
    """trackers that also receive the history of every cell: any of tensorboard, mlflow, wandb (pip install
    '.[track]' in a clone)"""
    file: Path | None = None
    """for export: the file (default: the folder of the study with the suffix .parquet)"""

    def run(self) -> int:
        """Run the chosen action."""
        from noisylabels.core.checks import InputError

        if self.from_ and self.action not in ("run", "show"):
            raise InputError(
                f"--from belongs to run and show, not to {self.action}; `study run` first restores the cells "
                "of a file into the folder of the study"
            )
        return {"run": self._run, "show": self._show, "status": self._status, "export": self._export}[
            self.action
        ]()

    def _flags(self) -> dict[str, object]:
        from noisylabels.study.grid import read_flags

        given = {"data": self.data, "data_root": self.data_root, "device": self.device}
        given |= {"record": self.record}
        return read_flags(self.set) | {name: value for name, value in given.items() if value is not None}

    def _cells(self) -> tuple[Study, list[Cell], Store]:
        from noisylabels.study.grid import load_study, read_only

        study = load_study(self.study)
        cells = study.cells(self._flags(), read_only(self.only), self.labels)
        return study, cells, self._store(self.out or Path("runs") / study.name)

    def _store(self, place: str | Path) -> Store:
        from noisylabels.study.remote import open_store

        return open_store(place)

    def _found(self, study: Study, cells: list[Cell]) -> Found:
        """Return the cells of the whole study, not only those of --only, that the files of --from contain."""
        from noisylabels.study.restoring import Found, find

        if not self.from_:
            return Found()
        every = study.cells(self._flags(), None, self.labels) if self.only else cells
        return find([file.expanduser() for file in self.from_], every, study.name)

    def _jobs(self) -> int:
        from noisylabels.core.checks import check_between

        if self.jobs is not None:
            return int(check_between(self.jobs, "--jobs", 0, 1000))
        import torch

        from noisylabels.core.process import usable_cpus

        on_gpu = self.device not in (None, "auto", "cpu") or (
            self.device != "cpu" and torch.cuda.is_available()
        )
        return 2 if on_gpu else usable_cpus()

    def _check_executor(self) -> None:
        from noisylabels.core.checks import InputError

        given = [
            name for name in ("address", "cpus_per_cell", "gpus_per_cell") if getattr(self, name) is not None
        ]
        if given and self.executor != "ray":
            flag = "--" + given[0].replace("_", "-")
            raise InputError(f"{flag} belongs to --executor ray; add it, or leave out {flag}")
        if self.executor == "ray" and self.threads != 1:
            raise InputError(
                "--threads belongs to --executor processes; on Ray --cpus-per-cell gives a cell's threads"
            )
        if self.executor == "ray" and self.jobs == 0:
            raise InputError("--jobs 0 runs cells in this process; leave out --jobs or --executor ray")

    def _executor(self, cells: int, jobs: int) -> Executor:
        from noisylabels.study.executors import Inline, Processes

        if self.executor == "ray":
            from noisylabels.study.on_ray import OnRay

            cpus = 1.0 if self.cpus_per_cell is None else self.cpus_per_cell
            cluster = OnRay(self.address, cpus, self.gpus_per_cell or 0.0, self.jobs, self.track)
            for text in cluster.notes():
                output.note(text)
            return cluster
        return Processes(min(jobs, cells), self.threads, self.track) if jobs else Inline(self.track)

    def _folder(self) -> Store:
        """Return the store at --out, at a folder given in place of a study, or of a study's name."""
        from noisylabels.core.urls import is_url
        from noisylabels.study.grid import studies

        if self.out is not None:
            return self._store(self.out)
        if is_url(self.study) or Path(self.study).expanduser().is_dir():
            return self._store(self.study)
        name = self.study if self.study in studies() else Path(self.study).stem
        return self._store(Path("runs") / name)

    def _show(self) -> int:
        from noisylabels.cli.terminal import console, table
        from noisylabels.core.checks import check_whole
        from noisylabels.study.equal_runs import EqualCells
        from noisylabels.study.estimate import estimate
        from noisylabels.study.plan import shard
        from noisylabels.study.store import NOT_RUN

        check_whole(self.threads, "--threads", 1)
        self._check_executor()
        study, cells, store = self._cells()
        found = self._found(study, cells)
        equal = EqualCells() if self.track else EqualCells.of(cells)
        cells = shard(cells, self.shard)
        store.refresh()
        states = [found.shown(cell, store.state(cell)) for cell in cells]
        rows = [
            [*(str(cell.axes[axis]) for axis in study.axes), state.state, state.message]
            for cell, state in zip(cells, states, strict=True)
        ]
        console().print(table([*study.axes, "state", ""], rows))
        for line in found.notes:
            console().print(line, markup=False)
        work = [
            (cell, max(1, cell.config.epochs - state.epoch))
            for cell, state in zip(cells, states, strict=True)
            if state.state not in NOT_RUN
        ]
        first = {cell.name for cell in equal.first([cell for cell, _ in work], store)}
        copied = f", {len(work) - len(first)} to copy" if len(first) < len(work) else ""
        work = [(cell, epochs) for cell, epochs in work if cell.name in first]
        console().print(
            f"{study.title}\n{len(cells)} cells, {len(work)} to run{copied}, in {store.place}", markup=False
        )
        if work:
            for line in estimate(work, self._jobs(), self.threads).lines:
                console().print(line, markup=False, soft_wrap=True)
        return 0

    def _run(self) -> int:
        import contextlib
        import time

        began = time.monotonic()  # before all that takes time of the budget

        from noisylabels.study.plan import read_seconds

        until = None if self.time_budget is None else began + read_seconds(self.time_budget)
        study, cells, store = self._cells()
        with contextlib.closing(store):
            return self._run_cells(study, cells, store, until)

    def _run_cells(self, study: Study, cells: list[Cell], store: Store, until: float | None) -> int:
        import time

        from noisylabels.cli.progress import Progress
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.checks import InputError, check_whole
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.experiment import check_trackers
        from noisylabels.study.embedding import embed_once
        from noisylabels.study.equal_runs import EqualCells
        from noisylabels.study.executors import Inline
        from noisylabels.study.input_versions import changed_data
        from noisylabels.study.plan import shard
        from noisylabels.study.scheduling import carry_out_all
        from noisylabels.study.store import NOT_RUN

        def seconds() -> float | None:
            return None if until is None else max(0.0, until - time.monotonic())

        jobs = self._jobs()
        check_whole(self.threads, "--threads", 1)
        self._check_executor()
        check_trackers(self.track)  # raises before anything starts
        store.check_track(self.track)
        store.check_kept()
        found = self._found(study, cells)
        earlier = store.note(study.title, cells)
        # a tracker receives the history of a run while it runs
        equal = EqualCells() if self.track else EqualCells.of(cells)
        cells = shard(cells, self.shard)
        said = []
        if earlier is not None:
            said.append(f"the list of cells could not be read: it was moved to {earlier} and written again")
        # each of thousands of finished cells is inspected once
        states = [self._mended(store, cell, found, said) for cell in cells]
        restored, lines = found.restore(store, cells, failed=not self.retry)
        said += [*found.notes, *lines]
        states = [
            store.state(cell) if cell.run_id in restored else state
            for cell, state in zip(cells, states, strict=True)
        ]
        rest = [c for c, state in zip(cells, states, strict=True) if state.state not in NOT_RUN]
        store.check_code(cells)
        view = Progress(store, [state.state for state in states])
        for line in said:
            view.say(line)
        executor = self._executor(len(rest), jobs) if rest else Inline()
        run = len(equal.first(rest, store))
        copied = f", {len(rest) - run} to copy" if run < len(rest) else ""
        view.say(f"{len(cells)} cells, {run} to run{copied} in {store.place}, {executor.slots} at a time")
        if jobs == 0:
            keep_freed_memory()
            limit_threads()
        if rest:
            with TerminalReporter(1) as reporter:
                embed_once(rest, reporter, seconds())
        with view:
            if self.track:
                store.catch_up(cells, self.track, view.note)
            work = carry_out_all(store, rest, view, executor=executor, seconds=seconds(), equal=equal)
        if rest and not work.full:
            store.refresh()
        after = {cell.name: store.state(cell) for cell in rest}
        states = [after.get(cell.name, state) for cell, state in zip(cells, states, strict=True)]
        ran = {name for name, state in after.items() if state.state == "done"}
        done, failed, running = (
            sum(state.state == name for state in states) for name in ("done", "failed", "running")
        )
        output.say(
            f"{done} of {len(cells)} cells done"
            + (f", {failed} failed" if failed else "")
            + f", in {store.place}"
        )
        for cell, state in zip(cells, states, strict=True):
            if state.state == "failed":
                output.say(f"  failed: {cell.name}: {state.message}")
        if running:
            output.say(f"{running} running in another process")
        for line in changed_data(cells, states, ran) if ran or not rest else ():
            output.note(line)
        if unfinished := len(cells) - done - failed - running:
            output.note(f"{unfinished} left; run the same command again to resume")
            if work.full:
                raise InputError(work.full)
            # failures that could not be recorded are not the effect of a signal
            if any(work.ended.get(cell.name, {}).get("status") == "refused" for cell in rest):
                return 1
        if work.signal is not None and (unfinished or running):
            return 128 + work.signal
        if unreadable := [state.message for state in states if state.state == "unreadable"]:
            count = "1 cell is" if len(unreadable) == 1 else f"{len(unreadable)} cells are"
            raise InputError(f"{count} left as before: {unreadable[0]}")
        if unfinished and until is not None:  # the time was up
            return 0
        return 1 if failed else 0

    def _mended(self, store: Store, cell: Cell, found: Found, said: list[str]) -> CellState:
        """Move a damaged folder away, clear a failure with --retry, and return the state of the cell."""
        state = store.state(cell)
        if state.state == "failed" and self.retry:
            store.retry(cell)
            state = store.state(cell)
        if state.state == "unreadable":
            said.append(f"{cell.name} is left as it is: {state.message}")
        if state.state != "damaged":
            return state
        said.append(f"{cell.name} is damaged ({state.message})")
        try:
            aside = store.set_aside(cell)
            origin = found.done(cell)
            again = "to be run again" if origin is None else f"restored from {origin.file}"
            said[-1] += "" if aside is None else f"; moved to {aside}, {again}"
        except OSError as error:
            said[-1] += f"; it cannot be moved: {error.strerror}"
        return store.state(cell)

    def _status(self) -> int:
        from noisylabels.cli.terminal import console, table
        from noisylabels.study.store import STATES

        store = self._folder()
        title, cells = store.noted()
        states = [(cell, store.state(cell)) for cell in cells]
        counts = [f"{n} {name}" for name in STATES if (n := sum(s.state == name for _, s in states))]
        console().print(f"{title}\n{store.place}: {len(cells)} cells: {', '.join(counts)}", markup=False)
        rows = [
            [
                cell.name,
                state.state,
                f"{state.epoch}/{cell.config.epochs}",
                "" if state.accuracy is None else f"{100 * state.accuracy:.2f} %",
                state.message,
            ]
            for cell, state in states
            if state.state not in ("done", "waiting")
        ]
        if rows:
            console().print(table(["cell", "state", "epoch", "test accuracy", ""], rows))
        return 0

    def _export(self) -> int:
        from noisylabels.core.files import check_target
        from noisylabels.study.exports import export

        store = self._folder()
        file = (self.file or store.export_file).expanduser()
        check_target(file, (".parquet",), "file for the export")
        notes: list[str] = []
        count = export(store.rows(notes), file)
        for note in notes:
            output.note(note)
        output.say(f"wrote {count} runs to {file} ({file.stat().st_size / 1000:,.0f} kB)")
        return 0
