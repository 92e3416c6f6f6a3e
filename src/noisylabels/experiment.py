"""From a configuration to a result: the single place where names become objects."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from noisylabels import __version__
from noisylabels.core.checks import InputError
from noisylabels.core.config import build, fingerprint, read_toml, to_dict
from noisylabels.core.files import alone, read_json, write_json
from noisylabels.training.history import History
from noisylabels.training.settings import HOW, Settings

if TYPE_CHECKING:
    from noisylabels.data.images import ImageSet
    from noisylabels.noise.labels import NoisyLabels


@dataclass(frozen=True)
class Subject:
    """What a run is about: data, noise, loss, model."""

    data: str = "digits"
    """a name of `noisylabels list data`, such as digits or cifar10, or a path in one of the forms of
    `noisylabels list formats`, such as a folder with a folder a class"""
    noise: str = "none"
    """label noise to add: none, symmetric:0.4, asymmetric:0.4, ...; see `noisylabels list noise`"""
    loss: str = "nce+mae"
    """a loss or a sum of losses: ce, nce+mae, 2*nce+0.5*rce; see `noisylabels list losses`"""
    model: str = "auto"
    """auto (small-cnn for images below 16x16, else cnn8), one of `noisylabels list models`, timm:NAME, or
    MODULE:FUNCTION or FILE.py:FUNCTION of your own"""
    width: float = 1.0
    """factor of the model's layer widths"""
    out: str | None = None
    """folder of the run (default: runs/ and a name made of the configuration)"""
    data_root: str | None = None
    """folder that holds the named data set (else the one that NOISYLABELS_DATA names, else downloads in
    the cache)"""
    download: bool = False
    """get the named data set if it is not there"""
    image_size: int | None = None
    """side in pixels to bring images to; needed only if they differ in size or are large"""
    bad_images: str = "fail"
    """what to do with images that cannot be read: fail, or skip"""


@dataclass(frozen=True)
class RunConfig(Settings, Subject):
    """The settings of a run: the keys of a recipe file, the flags of the command line."""

    # It extends two dataclasses instead of holding them so that keys are flat and every default stands
    # in one place. Dataclasses gather fields from the last base first: the subject leads.

    augment: str = "auto"
    """auto (crop:4+flip for colour images, else none), none, flip, crop:4, crop:4+flip"""


NOT_IDENTITY = ("out", "data_root", "download", *HOW)
"""Settings that say where and how a run is carried out, not what it is; they do not enter its id."""


FILES = (
    "config.json",
    "environment.json",
    "labels.parquet",
    "history.jsonl",
    "checkpoint.pt",
    "model.safetensors",
    "result.json",
)
"""What a run's folder holds, in the order in which it is written."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    status: str  # "done" or "failed"
    run_id: str
    path: Path
    config: dict[str, Any]
    final: dict[str, Any] | None  # the last row of the history; None if no epoch ended
    noise: dict[str, Any]  # spec, seed, rate and digest of the labels
    class_names: tuple[str, ...]
    message: str = ""  # why it failed

    @property
    def history(self) -> History:
        """A row an epoch, read from the run's folder."""
        return History.read(self.path / "history.jsonl")


class Reporter(Protocol):
    """Somebody who is told how a run goes; the command line draws it."""

    def note(self, text: str) -> None:
        """Something that the user should know, once."""

    def decoding(self, what: str, done: int, total: int) -> None:
        """`done` of `total` images are decoded, or files checked, or bytes downloaded, as `what` says."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """`done` of `total` steps of `epoch` are done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch has ended."""


class Silent:
    """A reporter that keeps to itself."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def decoding(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """Say nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Say nothing."""


def recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}


def load_config(recipe: str | None = None, **flags: Any) -> RunConfig:
    """Return defaults < recipe < flags as one configuration.

    Args:
        recipe: a name of `recipes()`, or the path of a TOML file of settings.
        flags: settings that go over the recipe's.

    Raises:
        InputError: an unknown recipe or key, a wrong type, a value out of range.
    """
    layer: dict[str, Any] = {}
    if recipe is not None:
        shipped = recipes()
        path = shipped.get(recipe, Path(recipe))
        if not path.exists():
            raise InputError(
                f"there is no recipe {recipe!r}: no file of that name, and none of: {', '.join(shipped)}"
            )
        layer = build_layer(path)
    return build(RunConfig, layer, flags)


def build_layer(path: Path) -> dict[str, Any]:
    """Return the settings of a recipe file, each checked by name and type."""
    layer = read_toml(path)
    build(RunConfig, layer, origin=f"key of {path.name}")
    return layer


def canonical(config: RunConfig) -> RunConfig:
    """Return the configuration spelled canonically: "MAE + NCE" is "nce+mae", "photos/" is "photos".

    Raises:
        InputError: a loss, a noise or an augmentation that cannot be read, an unknown model.
    """
    from noisylabels.data.augment import parse_augment
    from noisylabels.data.catalog import DATA
    from noisylabels.losses.expression import loss
    from noisylabels.models.catalog import canonical_model
    from noisylabels.noise.spec import NoiseSpec

    criterion = loss(config.loss)
    if "two views" in criterion.needs:
        raise InputError(
            f"the loss {config.loss!r} compares two views of each image, and a run has one (gjs is then js); "
            "take js here, or train with gjs in a loop of your own"
        )
    data = config.data
    if data not in DATA:
        data = os.path.normpath(os.path.expanduser(data))
        data = os.path.join(".", data) if data in DATA else data  # a folder called as a data set is
    return dataclasses.replace(
        config,
        data=data,
        model=canonical_model(config.model),
        loss=criterion.expression,
        noise=str(NoiseSpec.parse(config.noise)),
        augment=config.augment if config.augment == "auto" else str(parse_augment(config.augment)),
    )


def run_id(config: RunConfig) -> str:
    """Return the id of a run: 12 hexadecimal digits of what it is, not of where it is carried out."""
    return fingerprint(canonical(config), NOT_IDENTITY)


def default_out(config: RunConfig) -> Path:
    """Return the folder of a run that was not given one: readable, and unique by its id."""
    words = [Path(config.data).resolve().name, config.noise, config.loss, f"seed{config.seed}"]
    # cut, because a folder's name may not be longer than 255 bytes
    name = "-".join("".join(c if c.isalnum() or c in "+.@" else "_" for c in word[:32]) for word in words)
    return Path("runs") / f"{name}-{run_id(config)}"


def load_sets(config: RunConfig, reporter: Reporter | None = None) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set that a configuration names; their notes go to the reporter."""
    from noisylabels.data.catalog import load

    reporter = reporter or Silent()
    train, test = load(
        config.data,
        config.data_root,
        image_size=config.image_size,
        bad_images=config.bad_images,
        progress=reporter.decoding,
        download=config.download,
    )
    for note in dict.fromkeys(train.notes + test.notes):
        reporter.note(note)
    return train, test


def corrupted(config: RunConfig, reporter: Reporter | None = None) -> tuple[ImageSet, NoisyLabels]:
    """Return the training set that a configuration names, and its noisy labels."""
    from noisylabels.noise.corruption import corrupt

    train, _ = load_sets(config, reporter)
    return train, corrupt(train.labels, config.noise, seed=config.seed, class_names=train.class_names)


def run(config: RunConfig, reporter: Reporter | None = None) -> RunResult:
    """Carry out a run, or go on with it, or return its result if it is done.

    Everything that a user can get wrong is checked before anything is written. The folder then gets
    config.json, environment.json, labels.parquet, history.jsonl after every epoch, checkpoint.pt
    while it runs, model.safetensors, and result.json, last.

    Raises:
        InputError: a name, a value or a file is wrong; the folder holds another run.
        Interrupted: SIGINT or SIGTERM came; the checkpoint is written, the same call goes on.
    """
    import torch

    from noisylabels.data.catalog import default_augment
    from noisylabels.losses.expression import loss
    from noisylabels.models.catalog import build_model, check_model
    from noisylabels.noise.corruption import corrupt
    from noisylabels.prediction import save_model
    from noisylabels.training.interrupt import Interrupted, stop_on_signals
    from noisylabels.training.loop import Diverged, fit, pick_device

    reporter = reporter or Silent()
    config = canonical(config)
    out = Path(config.out).expanduser() if config.out is not None else default_out(config)
    finished = check_folder(out, config)
    if finished is not None:
        state = "is done" if finished.status == "done" else "has failed"
        reporter.note(f"{out} {state} already; remove it to run it again")
        remove_leftovers(out)
        return finished

    check_model(config.model)  # before any data are read, which may take long
    criterion = loss(config.loss)
    device = pick_device(config.device)
    train, test = load_sets(config, reporter)
    labels = corrupt(train.labels, config.noise, seed=config.seed, class_names=train.class_names)
    height, width = train.images.shape[2:]
    shape: dict[str, Any] = {
        "name": ("small-cnn" if min(height, width) < 16 else "cnn8")
        if config.model == "auto"
        else config.model,
        "channels": train.images.shape[1],
        "image_size": (height, width),
        "num_classes": train.num_classes,
        "width": config.width,
    }
    model = build_model(**shape, seed=config.seed)
    augment = default_augment(config.data, train) if config.augment == "auto" else config.augment

    start_folder(out, config, labels, train, test, shape, augment)
    settings = {name: getattr(config, name) for name in Settings.__dataclass_fields__} | {"augment": augment}
    result: dict[str, Any] = {"status": "done", "message": ""}
    noise = {"spec": labels.spec, "seed": labels.seed, "rate": labels.rate, "digest": labels.digest}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # of what else this process did
    with alone(out / ".lock"):
        with stop_on_signals() as stop:
            try:
                history = fit(
                    model,
                    train,
                    test,
                    criterion,
                    labels=None if labels.spec == "none" else labels,  # nothing is known of their truth
                    folder=out,
                    watcher=reporter,
                    stop=stop,
                    **settings,
                )
            except Interrupted as stopped:
                stopped.signal = stop.signal or stopped.signal
                raise
            except Diverged as error:
                history = error.history
                history.write(out / "history.jsonl")  # there is none yet if no epoch ended
                result |= {"status": "failed", "message": str(error)}
        if result["status"] == "done":
            save_model(out / "model.safetensors", model, shape, train)
        result |= {"final": history.rows[-1] if history.rows else None, "noise": noise, "device": str(device)}
        result |= {"run_id": run_id(config), "epochs": len(history), "class_names": train.class_names}
        for name in ("train_seconds", "eval_seconds"):
            result[name] = sum(history.column(name)) if history.rows else 0.0
        if device.type == "cuda":
            result["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        write_json(out / "result.json", result)
        remove_leftovers(out)
    return read_result(out)


def remove_leftovers(out: Path) -> None:
    """Remove what only an unfinished run needs, and what writes that were killed left."""
    for name in ("checkpoint.pt", *(f".{name}.*.tmp" for name in FILES)):
        for leftover in out.glob(name):
            leftover.unlink(missing_ok=True)


def check_folder(out: Path, config: RunConfig) -> RunResult | None:
    """Return the result in `out` if this very run is done there; another run there is an error."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder for the run; give another --out")
    if not (out / "config.json").exists():
        if out.exists() and any(not file.name.startswith(".") for file in out.iterdir()):
            raise InputError(f"{out} is not empty and holds no run; give another --out")
        return None
    there = to_dict(RunConfig()) | read_object(out / "config.json")  # newer settings were at their defaults
    for name, wanted in to_dict(config, NOT_IDENTITY).items():
        was = there[name]
        if was != wanted:
            raise InputError(
                f"{out} holds another run: its {name} is {was!r}, this one's {wanted!r}; give another --out"
            )
    return read_result(out) if (out / "result.json").exists() else None


def start_folder(
    out: Path,
    config: RunConfig,
    labels: NoisyLabels,
    train: ImageSet,
    test: ImageSet,
    shape: dict[str, Any],
    augment: str,
) -> None:
    """Write what is known before the first step, or check that it is the same as at the first start."""
    identity = {
        "data": {"name": train.name, "train": train.digest, "test": test.digest},
        "labels": labels.digest,
        "model": shape | {"image_size": list(shape["image_size"])},
        "augment": augment,
    }
    path = out / "environment.json"
    if path.exists():
        if read_object(path).get("identity") != identity:
            raise InputError(
                f"the data or labels of {out} changed since the run began; restore them, "
                "or remove the folder to start over"
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "config.json", to_dict(config))  # first: it makes the folder this run's
        labels.save(out / "labels.parquet")
        write_json(path, environment() | {"identity": identity})
    except OSError as error:
        raise InputError(f"the run's folder {out} cannot be written: {error.strerror}") from None


def environment() -> dict[str, Any]:
    """Return what a reader of the result needs to know of the machine and the software."""
    import torch

    packages = ("torch", "numpy", "pyarrow", "pillow", "scikit-learn")
    versions = {name: importlib.metadata.version(name) for name in packages}
    if (timm := sys.modules.get("timm")) is not None:  # the run's model is timm's
        versions["timm"] = getattr(timm, "__version__", "unknown")
    return {
        "noisylabels": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def read_result(out: Path) -> RunResult:
    """Return the result of a finished run."""
    result = read_object(out / "result.json")
    try:
        return RunResult(
            status=result["status"],
            run_id=result["run_id"],
            path=out,
            config=read_object(out / "config.json"),
            final=result["final"],
            noise=result["noise"],
            class_names=tuple(result["class_names"]),
            message=result["message"],
        )
    except (KeyError, TypeError):
        raise InputError(f"{out / 'result.json'} is no result of a run; remove it or restore it") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object; remove it or restore it")
    return value
