"""The Weights & Biases tracker."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.core.files import check_within, make_folder, remove_tree, write_json
from noisylabels.core.opening import SETTINGS_BYTES, read_bytes
from noisylabels.experiment.snapshot import RunSnapshot
from noisylabels.experiment.trackers.tracker import Tracker, project_of

UPLOAD_SECONDS = 60.0
"""How long the end of a run waits for the upload."""

MOST_ATTEMPTS = 20
"""How many runs of one id, of attempts that started over, are looked at on the server."""

_MARK = "noisylabels.json"


class WandB(Tracker):
    """Logs to Weights & Biases: to the server, or with WANDB_MODE=offline into the run's folder.

    One step per epoch, under the id of the run. A server keeps what it received: a resumed run goes on after
    the last step there. W&B cannot resume an offline run, and of two offline runs with one id the later
    replaces the earlier when they are synced. Each process therefore writes an offline run that is complete
    from the first epoch on, and removes the earlier ones.
    """

    name = "wandb"

    def __init__(self, out: Path, notify: Callable[[str], None]) -> None:
        super().__init__(out, notify)
        self._run: Any = None  # None if nothing is left to log
        self._epochs = 0  # that are logged

    @staticmethod
    def check() -> None:
        """Import wandb, and check that it will not prompt for a login in the middle of a run."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wandb: Any = importlib.import_module("wandb")
            if _mode() in ("online", "shared") and not (
                wandb.api.api_key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
            ):
                raise InputError(
                    "the tracker wandb is not logged in; run `wandb login`, or set WANDB_API_KEY, or "
                    "WANDB_MODE=offline"
                )

    def open(self, snapshot: RunSnapshot) -> None:
        """Start or resume the W&B run, unless all of this snapshot is logged already."""
        self.close()
        self._epochs = 0
        # absolute: wandb's service may have started in another working directory
        mode, root = _mode(), Path(os.environ.get("WANDB_DIR") or snapshot.out).resolve()
        offline = mode in ("offline", "dryrun")
        shown = f"{shlex.quote(str(snapshot.out.parent))}/*"
        if os.environ.get("WANDB_DIR"):
            shown = shlex.quote(str(root))
        if offline:
            self.where = f"wandb sync {shown}/wandb/offline-run-*"
        else:
            self.where = f"W&B, project {_project(snapshot)!r}"
        if mode == "disabled":
            self.where = f"nothing in W&B: its mode is {mode}"
        elif not (snapshot.ended and _is_logged(root, snapshot, "offline-run" if offline else "run")):
            for name in ("wandb", ".wandb"):
                check_within(make_folder(root) / name, root)
            self._run = _init(snapshot, root, "offline") if offline else self._resume(snapshot, root, mode)

    def _resume(self, snapshot: RunSnapshot, root: Path, mode: str) -> Any:
        """Return the run on the server whose last epoch is the snapshot's, or a new one."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            run = _init(snapshot, root, mode, f"{snapshot.run_id}-{attempt}" if attempt > 1 else None)
            self._epochs = max(run.starting_step - 1, 0)
            if self._epochs == 0 or _agrees(dict(run.summary), snapshot, self._epochs):
                return run
            # another attempt, with other numbers: W&B can neither take them back nor reuse a deleted id
            with _quiet():
                run.finish(exit_code=0)
        raise InputError(f"W&B has {MOST_ATTEMPTS} runs {snapshot.run_id}, all with other numbers")

    def add(self, snapshot: RunSnapshot) -> None:
        """Log the epochs that are missing, and finish the W&B run if the run has ended or was stopped."""
        if self._run is None:
            return
        with _quiet():
            for epoch, at, values in snapshot.epochs[self._epochs :]:
                self._run.log({**values, "_timestamp": at}, step=epoch, commit=True)
                self._epochs = epoch
            if snapshot.status != "running":
                self._finish(snapshot)
            elif self._run.offline:
                _remove_earlier(self._run, snapshot)

    def _finish(self, snapshot: RunSnapshot) -> None:
        """Log the result and wait for the upload."""
        run = self._run
        if run.offline:
            _remove_earlier(run, snapshot)
        run.summary["status"] = snapshot.status
        if snapshot.ended:
            run.summary["result"] = json.loads(snapshot.result)
        if snapshot.status == "stopped":
            run.mark_preempting()  # W&B then shows it as preempted, not as failed
        run.finish(exit_code=0 if snapshot.status == "done" else 1)
        self._run = None
        _remove_earlier(run, snapshot)
        write_json(Path(run.settings.sync_dir) / _MARK, {"snapshot": _digest(snapshot)})

    def close(self) -> None:
        """Finish a W&B run that is still open, as the training was broken off."""
        if self._run is not None:
            run, self._run = self._run, None
            with _quiet(), contextlib.suppress(Exception):
                run.finish(exit_code=1)


def _mode() -> str:
    """Return online, offline, disabled or shared: what the environment or W&B's own settings say."""
    import wandb

    return os.environ.get("WANDB_MODE") or str(wandb.setup().settings.mode)


def _project(snapshot: RunSnapshot) -> str:
    return os.environ.get("WANDB_PROJECT") or project_of(snapshot.out)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ignore the warnings that wandb and its dependencies give about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _init(snapshot: RunSnapshot, root: Path, mode: str, run_id: str | None = None) -> Any:
    """Return a W&B run that prints nothing and records what the snapshot holds only."""
    import wandb

    settings: dict[str, Any] = {"finish_timeout": UPLOAD_SECONDS, "finish_timeout_raises": True}
    if "WANDB_INIT_TIMEOUT" not in os.environ:
        settings["init_timeout"] = 20.0  # else a server that is gone delays the training by 90 seconds
    with _quiet():
        run = wandb.init(
            id=run_id or snapshot.run_id,
            name=os.environ.get("WANDB_NAME") or snapshot.out.name,
            project=_project(snapshot),
            config=snapshot.settings,
            dir=str(root),
            mode=mode,  # type: ignore[arg-type]
            # an offline run cannot be resumed, and wandb would print so
            resume=None if mode == "offline" else "allow",
            reinit="create_new",  # a W&B run of the user's own, in the same process, stays as it is
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
                **settings,
            ),
        )
        if root not in Path(run.settings.sync_dir).resolve().parents:
            run.finish(exit_code=1)
            raise OSError(f"{root} cannot be written")  # wandb falls back to a temporary folder
    return run


def _agrees(summary: dict[str, Any], snapshot: RunSnapshot, epochs: int) -> bool:
    """Return whether the last values that W&B holds are those of the snapshot's epoch of that number."""
    if epochs > len(snapshot.epochs):
        return False
    values = snapshot.epochs[epochs - 1][2]
    return all(summary.get(name) == value for name, value in values.items())


def _digest(snapshot: RunSnapshot) -> str:
    """Return a digest of all that is logged, times left out."""
    epochs = [(epoch, values) for epoch, _, values in snapshot.epochs]
    logged = json.dumps([snapshot.settings, epochs, snapshot.status, snapshot.result])
    return hashlib.sha256(logged.encode()).hexdigest()


def _folders(root: Path, snapshot: RunSnapshot, kind: str) -> list[Path]:
    """Return the folders that wandb made for this run: `kind` is offline-run or run."""
    return [path for name in ("wandb", ".wandb") for path in root.glob(f"{name}/{kind}-*-{snapshot.run_id}*")]


def _is_logged(root: Path, snapshot: RunSnapshot, kind: str) -> bool:
    """Return whether a W&B run with all of the snapshot was finished."""
    for folder in _folders(root, snapshot, kind):
        with contextlib.suppress(OSError, ValueError):
            if json.loads(read_bytes(folder / _MARK, SETTINGS_BYTES)) == {"snapshot": _digest(snapshot)}:
                return True
    return False


def _remove_earlier(run: Any, snapshot: RunSnapshot) -> None:
    """Remove other offline runs of the same id: `run` holds all that they hold."""
    own = Path(run.settings.sync_dir)
    for folder in _folders(own.parents[1], snapshot, "offline-run"):
        if folder.resolve() != own.resolve():
            remove_tree(folder)
