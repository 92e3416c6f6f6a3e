"""From a configuration to a result: the single place where names become objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.core.files import alone, check_file, file_digest, removed_if_empty, write_json
from noisylabels.experiment.config import RunConfig, canonical, default_out, run_id
from noisylabels.experiment.folder import (
    RunResult,
    check_folder,
    check_noise_files,
    empty_folder,
    read_result,
    remove_leftovers,
    start_folder,
)
from noisylabels.experiment.reporter import Reporter, Silent
from noisylabels.experiment.sets import corrupted
from noisylabels.training.settings import Settings


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
    from noisylabels.noise.spec import NoiseSpec
    from noisylabels.prediction import save_model
    from noisylabels.training.interrupt import Interrupted, stop_on_signals
    from noisylabels.training.loop import Diverged, fit, pick_device

    reporter = reporter or Silent()
    config = canonical(config)
    out = Path(config.out).expanduser() if config.out is not None else default_out(config)
    finished = check_folder(out, config)
    if finished is not None:
        check_noise_files(out)
        state = "is done" if finished.status == "done" else "has failed"
        reporter.note(f"{out} {state} already; remove it to run it again")
        remove_leftovers(out)
        return finished

    # before any data are read, which may take long
    check_model(config.model)
    files = {file: file_digest(check_file(Path(file))) for file in NoiseSpec.parse(config.noise).files}
    criterion = loss(config.loss)
    device = pick_device(config.device)
    train, test, labels = corrupted(config, reporter)
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

    fresh = not out.exists()
    start_folder(out, config, labels, train, test, shape, augment, files)
    settings = {name: getattr(config, name) for name in Settings.__dataclass_fields__} | {"augment": augment}
    result: dict[str, Any] = {"status": "done", "message": ""}
    # Without noise nothing is known of the truth of labels; and then they are those of the set.
    known = NoiseSpec.parse(config.noise).changes_labels
    noise = {"spec": labels.spec, "seed": labels.seed, "rate": labels.rate, "digest": labels.digest}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # of what else this process did
    with removed_if_empty(out), alone(out / ".lock"):
        with stop_on_signals() as stop:
            try:
                history = fit(
                    model,
                    train,
                    test,
                    criterion,
                    labels=labels if known else None,
                    folder=out,
                    watcher=reporter,
                    stop=stop,
                    **settings,
                )
            except InputError:  # the model does not fit the images, say: nothing has been trained
                if fresh:
                    empty_folder(out)
                raise
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
