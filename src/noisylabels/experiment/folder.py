"""The folder of a run: its files, checks of their identity, and its result."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from noisylabels import __version__
from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.config import to_dict
from noisylabels.core.files import file_digest, remove_file, write_json
from noisylabels.core.json_text import parse_json
from noisylabels.core.opening import may_pass, open_file
from noisylabels.core.process import processor
from noisylabels.core.schema import REMEDY, checked, read_checked
from noisylabels.experiment.config import NOT_IDENTITY, RunConfig
from noisylabels.experiment.documents import Config, Environment, Result
from noisylabels.experiment.resolve import ResolvedRun
from noisylabels.training.history import History, current_names
from noisylabels.training.weights_file import Header

if TYPE_CHECKING:
    import torch

    from noisylabels.data.features import Examples
    from noisylabels.experiment.data_state import DataState
    from noisylabels.noise.labels import NoisyLabels

FILES = (
    "config.json",
    "environment.json",
    "labels.parquet",
    "method.json",
    "history.jsonl",
    "checkpoint.pt",
    "dynamics.parquet",
    "dynamics-examples.parquet",
    "model.safetensors",
    "result.json",
)
"""The files of a run's folder, in the order in which they are written."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run."""

    status: str  # "done" or "failed"
    run_id: str  # see `run_id`
    path: Path  # the run's folder
    config: dict[str, Any]  # the configuration by setting
    final: dict[str, Any] | None  # the last row of the history; None if no epoch ended
    noise: dict[str, Any]  # spec, seed, rate and digest of the labels
    class_names: tuple[str, ...]  # K names in the order of the class numbers
    message: str = ""  # the reason of a failure
    loss: str = ""  # the loss it was trained with, also if it was chosen automatically
    model: str = ""  # the name of the model, also if it was chosen automatically
    kept: dict[str, Any] | None = None  # the row of the epoch that keep_epoch "best" kept
    test: dict[str, Any] | None = None
    """number of examples; held_out: whether the data had no test part; true_labels: for the user's own data,
    the estimated accuracy on true labels, or why there is none"""
    train: dict[str, Any] | None = None  # number of examples trained on; inputs: images or table

    @property
    def history(self) -> History:
        """The history, one row per epoch, read from the run's folder."""
        return History.read(self.path / "history.jsonl")


def remove_leftovers(out: Path) -> None:
    """Remove the checkpoint, and temporary files of interrupted writes."""
    for name in ("checkpoint.pt", *(f".{name}.*.tmp" for name in FILES)):
        for leftover in out.glob(name):
            remove_file(leftover)


def empty_folder(out: Path) -> None:
    """Remove the files of a run that failed before its first step."""
    for name in reversed(FILES):  # so that a kill in between leaves an unfinished run
        remove_file(out / name)


def check_folder(out: Path, config: RunConfig) -> RunResult | None:
    """Return the result in `out` if this run is done, else None; raise an `InputError` for another run."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder for the run; give another --out")
    if not (out / "config.json").exists():
        if out.exists() and any(not file.name.startswith(".") for file in out.iterdir()):
            raise InputError(f"{out} is not empty and not the folder of a run; give another --out")
        return None
    there = to_dict(RunConfig()) | read_config(out)  # newer settings were at their defaults
    for name, wanted in to_dict(config, NOT_IDENTITY).items():
        was = there[name]
        if was != wanted:
            raise InputError(
                f"{out} holds another run: its {name} is {was!r}, this one's {wanted!r}; give another --out"
            )
    return read_result(out) if (out / "result.json").exists() else None


def check_files(out: Path, code: dict[str, str]) -> None:
    """Raise an `InputError` if an input file of a run has changed since it began.

    Args:
        out: the folder of a run that has begun.
        code: current digests of the user's own code, by file or module. The caller computes them, because
            finding a module named in the folder may run its package, and the folder may be a stranger's.
    """
    file = changed_file(read_environment(out)["identity"], code)
    if file is not None:
        raise InputError(
            f"{file} has changed since the run in {out} began; restore it, give another --out, "
            "or remove the run"
        )


def changed_file(identity: dict[str, Any], code: dict[str, str]) -> str | None:
    """Return an input file that has changed since the run with this identity began, or None."""
    kinds = ("noise files", "label files", "encoder files", "method files")
    read = {file: digest for kind in kinds for file, digest in identity.get(kind, {}).items()}
    now = code | {file: file_digest(Path(file)) for file in read if Path(file).is_file()}
    inputs = identity.get("code files", {}) | read
    return next((file for file, digest in inputs.items() if now.get(file, digest) != digest), None)


def start_folder(
    resolved: ResolvedRun,
    labels: NoisyLabels,
    train: Examples,
    test: Examples,
    state: DataState,
    shape: dict[str, Any],
    augment: str,
    chosen: dict[str, Any] | None = None,
) -> None:
    """Write configuration, labels and environment, or check that they match those of the first start.

    The automatically `chosen` loss is only written: a resumed run reads it back with `chosen_before`.
    """
    out = resolved.out
    identity: dict[str, Any] = {
        "data": {"name": train.name, "train": train.digest, "test": test.digest},
        "labels": labels.digest,
        "model": shape | {"image_size": list(shape["image_size"])},
        "augment": augment,
    }
    identity |= {kind: digests for kind, digests in resolved.files.items() if digests}
    path = out / "environment.json"
    if path.exists():
        check_files(out, resolved.code_files)
        if read_environment(out)["identity"] != identity:
            raise InputError(
                f"the data or labels of {out} have changed since the run began; restore them, "
                "or remove the folder to start over"
            )
        _keep_labels(labels, out / "labels.parquet", train)
        return
    try:
        write_json(out / "config.json", to_dict(resolved.config))  # first: it marks the folder as this run's
        labels.save(out / "labels.parquet", train.ids, train.rows)
        about = environment(resolved.device) | {"identity": identity, "data_read": state._asdict()}
        write_json(path, about | ({"chosen": chosen} if chosen else {}))
    except OSError as error:
        raise InputError(f"the run's folder {out} cannot be written: {error.strerror}") from None


def chosen_before(out: Path) -> dict[str, Any] | None:
    """Return the loss chosen when the run in `out` began, with the reason; None if none was chosen."""
    return read_environment(out).get("chosen") if (out / "environment.json").exists() else None


def _keep_labels(labels: NoisyLabels, path: Path, train: Examples) -> None:
    """Write the labels again if the file is missing or damaged: a later audit of the run reads it."""
    with contextlib.suppress(InputError):
        if type(labels).load(path).digest == labels.digest:
            return
    labels.save(path, train.ids, train.rows)


def check_ends(out: Path, *names: str) -> None:
    """Raise `CorruptedFile` if a binary file of a run is truncated or of another format.

    Only the start and end of each file are checked, because a study has thousands of runs. A missing file is
    no error: weights may have been removed to save space. An `OSError` is raised if it may pass.
    """
    for name in names:
        path, whole = out / name, _ENDS[name]
        try:
            with open_file(path) as file:
                if whole(file):
                    continue
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            if may_pass(error):
                raise
        raise CorruptedFile(f"{path} is damaged")


def _parquet(file: BinaryIO) -> bool:
    start = file.read(4)
    file.seek(-4, os.SEEK_END)
    return start == file.read() == b"PAR1"


def _weights(file: BinaryIO) -> bool:
    length = int.from_bytes(file.read(8), "little")
    size = file.seek(0, os.SEEK_END)
    if length > size:
        return False
    file.seek(8)
    header = checked(parse_json(file.read(length), file.name), Header, file.name)
    ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    return size == 8 + length + max(ends, default=0)


def _zip(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    file.read()  # `is_zipfile` takes an error of the disk for another format
    return zipfile.is_zipfile(file)


_ENDS = {"labels.parquet": _parquet, "model.safetensors": _weights, "checkpoint.pt": _zip}


SHOWN_SECONDS = 90.0
"""How long a network file system may hide a file from a machine that has looked for it before: with NFS's
defaults, 60 seconds."""


def environment(device: torch.device) -> dict[str, Any]:
    """Return the software versions and the hardware that a result was computed with.

    It includes only the GPU that the run uses.
    """
    import importlib.metadata

    import torch

    from noisylabels.losses import kernel_name
    from noisylabels.training.ranks import processes

    packages = ("torch", "numpy", "pyarrow", "pillow", "scikit-learn")
    versions = {name: importlib.metadata.version(name) for name in packages}
    if (timm := sys.modules.get("timm")) is not None:  # the run's model is timm's
        versions["timm"] = getattr(timm, "__version__", "unknown")
    count = processes()
    return {
        "noisylabels": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({"processes": count} if count > 1 else {}),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "kernel": kernel_name(),  # of the losses; kernels differ in rounding
    }


def read_result(out: Path, seconds: float = 0.0) -> RunResult:
    """Return the result of a finished run.

    Args:
        out: the folder of the run.
        seconds: how long to wait for a result that another machine has written.

    Raises:
        InputError: the run is not finished, or result.json is damaged.
    """
    path = out / "result.json"
    end = time.monotonic() + seconds
    while time.monotonic() < end and path not in out.iterdir():
        time.sleep(0.1)
    result = read_checked(path, Result)
    names = result["class_names"]
    ends = [row for row in (result["final"], result.get("kept")) if row is not None]
    if result["status"] == "done" and result["final"] is None:
        raise InputError(f"{path} has no final row, expected that of the last epoch; {REMEDY}")
    if any(k >= len(names) for row in ends for k in row.get("dead_classes") or ()):
        raise InputError(f"{path} has dead classes beyond its {len(names)} class names; {REMEDY}")
    return RunResult(
        status=result["status"],
        run_id=result["run_id"],
        path=out,
        config=read_config(out),
        final=current_names(result["final"]) if result["final"] else None,
        noise=result["noise"],
        class_names=tuple(names),
        message=result["message"],
        model=result.get("model", ""),
        kept=result.get("kept"),
        test=result.get("test"),
        train=result.get("train"),
        loss=result.get("loss", ""),  # older results lack it; their configuration names the loss
    )


def read_config(out: Path) -> dict[str, Any]:
    """Return the settings of a run, without those that are newer than the run."""
    config: dict[str, Any] = read_checked(out / "config.json", Config)
    return config


def read_environment(out: Path) -> dict[str, Any]:
    """Return the content of a run's environment.json."""
    found: dict[str, Any] = read_checked(out / "environment.json", Environment)
    return found
