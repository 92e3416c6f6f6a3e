"""Run a configuration: train, and write the result to the run's folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from noisylabels.core.checks import InputError
from noisylabels.core.config import to_dict
from noisylabels.core.files import locked_folder, read_json, remove_tree, write_json
from noisylabels.encoders.names import AUTO, MISSING, NONE
from noisylabels.experiment.auto_loss import choose, number_of_steps
from noisylabels.experiment.config import RunConfig
from noisylabels.experiment.data_state import state_of_run
from noisylabels.experiment.folder import (
    SHOWN_SECONDS,
    RunResult,
    check_files,
    check_folder,
    chosen_before,
    empty_folder,
    read_environment,
    read_result,
    remove_leftovers,
    start_folder,
)
from noisylabels.experiment.machine_use import RecordMachineUse
from noisylabels.experiment.recording import missing_recording, recorders, write_recordings
from noisylabels.experiment.reporter import Announce, Reporter, ReportProgress, Silent, begin
from noisylabels.experiment.resolve import ResolvedRun, resolve
from noisylabels.experiment.sets import corrupted, state_now, trained_on
from noisylabels.experiment.table_recipe import choose_for_table, settled
from noisylabels.experiment.trackers import Tracker, catch_up, open_trackers
from noisylabels.experiment.true_labels import kind_of_input, on_true_labels
from noisylabels.training.settings import Settings
from noisylabels.training.weights_file import save_model

if TYPE_CHECKING:
    from noisylabels.data.features import Examples
    from noisylabels.experiment.method_inputs import MethodData
    from noisylabels.losses.modules import Loss
    from noisylabels.methods.expression import MethodSpec
    from noisylabels.training.ranks import Ranks


def run(
    config: RunConfig,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
    track: Sequence[str] = (),
) -> RunResult:
    """Start or resume a run, or return its result if it is done.

    User errors are detected before anything is written. The folder then holds config.json, environment.json,
    labels.parquet, history.jsonl after every epoch, checkpoint.pt while the run is unfinished,
    model.safetensors, and result.json, written last.

    Each of several processes, as torchrun starts them, calls this: they divide the training, and the first
    one prepares and writes the folder, which all of them must see.

    Args:
        config: the configuration.
        reporter: receives progress and notes, of the first process alone.
        stop: called after every step; when it returns True the run stops as on a signal.
        track: trackers that receive the history too: tensorboard, mlflow,
            wandb. They are not
            part of the run's identity.

    Raises:
        InputError: a wrong name, value or file; the folder holds another run.
        Busy: another process uses the folder.
        Interrupted: SIGINT or SIGTERM arrived, or `stop` returned True; the checkpoint is written, and the
            same call resumes.
    """
    from noisylabels.training.ranks import Ranks

    resolved = resolve(config)
    ranks = Ranks.of_this_run(resolved.device)
    with contextlib.ExitStack() as turn:
        turn.enter_context(ranks.in_turn(stop))
        if not ranks.first:
            finished = _finished(resolved, Silent())
            return finished or _run_alone(resolved, Silent(), (), stop, ranks, turn)
        return _run_first(resolved, config, reporter or Silent(), stop, track, ranks, turn)


def _run_first(
    resolved: ResolvedRun,
    config: RunConfig,
    reporter: Reporter,
    stop: Callable[[], bool],
    track: Sequence[str],
    ranks: Ranks,
    turn: contextlib.ExitStack,
) -> RunResult:
    """Run in the process that writes the folder: the only one, or the first of several."""
    from noisylabels.training.divided import check_divisible

    out = resolved.out
    trackers = open_trackers(track, out, reporter.note)
    if (finished := _finished(resolved, reporter)) is not None:
        _compare_data(resolved, reporter)
        catch_up(finished, track, reporter)
        return finished
    if config.features == AUTO and resolved.config.features == NONE:
        reporter.note(MISSING)
    if resolved.method.own_model is not None:
        unused = "" if config.model in ("auto", resolved.config.model) else f", not {config.model},"
        reporter.note(
            f"the method {resolved.method.name} fits the model {resolved.config.model}{unused} in one epoch; "
            "the settings of training have no effect"
        )
    resolved.check()  # before reading the data, which may take long
    if ranks.several:
        check_divisible(resolved.method.expression, resolved.method.rank_inputs, ranks.size)
    with locked_folder(out, "the run's folder"), contextlib.ExitStack() as stack:
        for tracker in trackers:
            stack.callback(tracker.close)
        # again: another process may have finished it before the lock
        result = _finished(resolved, reporter)
        if result is None:
            result = _run_alone(resolved, reporter, trackers, stop, ranks, turn)
        for tracker in trackers:
            tracker.end(result)
        return result


def model_shape(config: RunConfig, train: Examples) -> dict[str, Any]:
    """Return the arguments of `build_model`; rows of D features count as images of size (1, 1, D).

    Raises:
        InputError: a model of the catalog for images, and a table.
    """
    from noisylabels.data.images import ImageSet
    from noisylabels.experiment.model_input import check_takes_rows
    from noisylabels.models.mlp import OF_TABLES

    more = {"num_classes": train.num_classes, "width": config.width}
    if train.inputs.ndim == 4:
        height, width = train.inputs.shape[2:]
        auto = "small-cnn" if min(height, width) < 16 else "cnn8"
        name = auto if config.model == "auto" else config.model
        return {"name": name, "channels": train.inputs.shape[1], "image_size": (height, width), **more}
    if not isinstance(train, ImageSet):
        train.check_columns()
    columns = train.inputs.shape[1]
    name = OF_TABLES if config.model == "auto" else config.model
    check_takes_rows(name, train.name, columns)
    return {"name": name, "channels": 1, "image_size": (1, columns), **more}


def _finished(resolved: ResolvedRun, reporter: Reporter) -> RunResult | None:
    """Return the result of this run if it is done."""
    out = resolved.out
    finished = check_folder(out, resolved.config)
    if finished is not None:
        check_files(out, resolved.code_files)
        state = "is done" if finished.status == "done" else "has failed"
        reporter.note(f"{out} {state} already; remove it to run again")
        if missing_recording(resolved.config.record, out):
            reporter.note(f"{out} was run without --record {resolved.config.record}; remove it to record it")
        with contextlib.suppress(OSError):  # a read-only folder
            remove_leftovers(out)
    return finished


def _compare_data(resolved: ResolvedRun, reporter: Reporter) -> None:
    """Note if the data of a finished run have changed since."""
    was = state_of_run(read_environment(resolved.out), to_dict(resolved.config))
    if was is not None and (now := state_now(resolved.config)) is not None and now != was:
        reporter.note(
            f"{resolved.config.data} has changed since the run in {resolved.out}, which used the earlier data"
        )


def _with_inputs(resolved: ResolvedRun, data: MethodData) -> MethodSpec:
    """Return the method of a run with its inputs, which are kept in the run's folder."""
    from noisylabels.experiment.method_inputs import CHECKPOINTS, find_inputs

    path = resolved.out / "method.json"
    before = read_json(path) if path.exists() else None
    spec, kept = find_inputs(resolved.method, data, before if isinstance(before, dict) else None)
    if kept and kept != before:
        write_json(path, kept)
    for checkpoints in resolved.out.glob(f"{CHECKPOINTS}*"):
        remove_tree(checkpoints, resolved.out)
    return spec


def _weighed(criterion: Loss, data: MethodData) -> dict[str, Any]:
    """Return the loss with the weight that its rule sets before training, with the reason."""
    from noisylabels.core.interrupt import Interrupted, stop_on_signals
    from noisylabels.experiment.auto_weight import choose_weight

    with stop_on_signals() as signals:
        try:
            return choose_weight(
                criterion, dataclasses.replace(data, stop=lambda: signals() or data.stop())
            ).to_dict()
        except Interrupted as stopped:
            stopped.signal = signals.signal or stopped.signal
            raise


def _run_alone(
    resolved: ResolvedRun,
    reporter: Reporter,
    trackers: Sequence[Tracker],
    stop: Callable[[], bool],
    ranks: Ranks,
    turn: contextlib.ExitStack,
) -> RunResult:
    """Run in a folder that this process, or the first of several, has locked.

    `turn` is closed once this process has prepared what the next ones need.
    """
    import torch

    from noisylabels.core.interrupt import Interrupted, stop_on_signals
    from noisylabels.data.catalog import DATA, default_augment
    from noisylabels.data.reader import held_out
    from noisylabels.experiment.method_inputs import MethodData
    from noisylabels.losses.expression import loss
    from noisylabels.losses.varying import NOISY_DATA
    from noisylabels.methods.fit import fit
    from noisylabels.models.catalog import build_model
    from noisylabels.training.callbacks import PauseWhen
    from noisylabels.training.loop import TrainingDiverged

    config, out, device, criterion = resolved.config, resolved.out, resolved.device, resolved.loss
    train, test, labels, state = corrupted(resolved, reporter)
    for tracker in trackers:
        tracker.class_names = train.class_names
    positions = trained_on(config, train)
    if positions is not None:
        reporter.note(f"trains on {len(positions):,} of {len(train):,} examples, the same for every seed")
    shape = model_shape(config, train)
    model = build_model(**shape, seed=config.seed)  # raises before anything is chosen
    augment = default_augment(config.data, train) if config.augment == "auto" else config.augment

    recorded = recorders(config.record)
    before = chosen = chosen_before(out)
    if config.features == AUTO and train.inputs.ndim == 4:  # no encoder is right for these images
        config = dataclasses.replace(config, table_recipe="")
    if config.table_recipe:
        compared = config
        if criterion is not None and NOISY_DATA in criterion.needs:
            compared = dataclasses.replace(config, loss=criterion.with_auto(1.0).expression)
        chosen = before or choose_for_table(compared, train, labels.given, positions, stop)
        reporter.note(f"model {chosen['model']}, loss {chosen['loss']}: {chosen['why']}")
        config = settled(config, chosen)
        shape = model_shape(config, train)
        model = build_model(**shape, seed=config.seed)
        if config.validation and config.keep_epoch == "best":
            held = f"{100 * config.validation:g} % of the training rows are held out"
            reporter.note(f"{held}; the epoch that predicts their given labels best is kept")
    elif criterion is None:
        count = len(train) if positions is None else len(positions)
        steps = number_of_steps(config, count)
        chosen = before or choose(train, steps, labels.given, config.seed).to_dict()
        reporter.note(f"loss {chosen['loss']}: {chosen['why']}")

    settings = {name: getattr(config, name) for name in Settings.__dataclass_fields__} | {"augment": augment}
    # Without added noise the true labels are unknown, and the given labels are those of the set.
    known = resolved.noise.changes_labels
    data = MethodData(
        train,
        labels.given_codes,
        labels if known else None,
        positions,
        lambda seed: build_model(**shape, seed=seed),
        settings,
        stop,
        reporter,
    )
    if criterion is not None and NOISY_DATA in criterion.needs:
        if before is None:
            weighed = _weighed(criterion, data)
            chosen = {**(chosen or {}), **weighed}
        assert chosen is not None
        reporter.note(f"loss {chosen['loss']}: {chosen['why']}")
        criterion = None
    if criterion is None and chosen is not None:
        criterion = loss(chosen["loss"])
    assert criterion is not None

    fresh = not (out / "config.json").exists()
    start_folder(resolved, labels, train, test, state, shape, augment, chosen)
    count = len(train) if positions is None else len(positions)
    what = (
        f"training {shape['name']} on {count:,} examples in {train.num_classes} classes of {config.data}: "
        f"{config.epochs} epochs on {device}"
    )
    what += f", by {config.method}" * (config.method != RunConfig.method)
    result: dict[str, Any] = {"status": "done", "message": ""}
    noise = {"spec": labels.spec, "seed": labels.seed, "rate": labels.rate, "digest": labels.digest}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # of what else this process did
    begin(reporter, config.epochs)
    use = RecordMachineUse(out)
    with stop_on_signals() as signals:
        try:
            data = dataclasses.replace(data, stop=lambda: signals() or stop(), folder=out)
            trained_by = _with_inputs(resolved, data)
            turn.close()
            history = fit(
                model,
                train,
                test,
                criterion,
                method=trained_by,
                labels=labels if known else None,
                positions=positions,
                folder=out,
                callbacks=[
                    Announce(reporter, what),
                    ReportProgress(reporter),
                    use,
                    *recorded,
                    *trackers,
                    PauseWhen(lambda: signals() or stop()),
                ],
                **settings,
            )
        except InputError:  # for example a model that does not match the images: nothing has been trained
            if fresh and not (out / "checkpoint.pt").exists():
                empty_folder(out)
            raise
        except Interrupted as stopped:
            stopped.signal = signals.signal or stopped.signal
            for tracker in trackers:
                tracker.follow("stopped")
            raise
        except TrainingDiverged as error:
            history = error.history
            if ranks.first:
                history.write(out / "history.jsonl")  # missing if no epoch has ended
            result |= {"status": "failed", "message": str(error)}
    with ranks.in_turn():
        if not ranks.first:
            return read_result(out, SHOWN_SECONDS)
        use.write()
        write_recordings(recorded if history.rows else [], out)
        if result["status"] == "done":
            power = (chosen or {}).get("power")
            result["weights"] = save_model(out / "model.safetensors", model, shape, train, power)
        result |= {"final": history.rows[-1] if history.rows else None, "noise": noise, "device": str(device)}
        result |= {"loss": chosen["loss"] if chosen else config.loss, "run_id": resolved.run_id}
        if result["status"] == "done" and history.kept is not None:
            result["kept"] = history.kept
        result |= {"model": shape["name"], "test": {"examples": len(test), "held_out": held_out(train.notes)}}
        result["train"] = {"examples": count, "inputs": kind_of_input(train)}
        if result["status"] == "done" and config.data not in DATA:  # a named set's test labels count as true
            result["test"]["true_labels"] = on_true_labels(model, shape, train, test)
        result |= {"epochs": len(history), "class_names": train.class_names}
        for name in ("train_seconds", "eval_seconds"):
            result[name] = sum(history.column(name)) if history.rows else 0.0
        if device.type == "cuda":
            result["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        write_json(out / "result.json", result)
        remove_leftovers(out)
        return read_result(out)
