"""Search the weights and parameters of a loss and the learning rate on noisy validation labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError, check_choice, check_whole, one_line
from noisylabels.core.config import to_dict
from noisylabels.core.files import check_within, locked_folder, real_path, remove_file, write_json
from noisylabels.core.opening import check_not_link, open_in_place, read_bytes
from noisylabels.core.optional import import_optional
from noisylabels.core.rng import derive_seed
from noisylabels.core.schema import Count, read_checked
from noisylabels.experiment import (
    Reporter,
    RunConfig,
    Silent,
    canonical,
    choose,
    corrupted,
    resolve,
    run,
    run_id,
)
from noisylabels.experiment.auto_loss import AUTO, number_of_steps
from noisylabels.experiment.config import NOT_IDENTITY
from noisylabels.experiment.documents import Chosen, Config
from noisylabels.experiment.reporter import announce
from noisylabels.experiment.sets import trained_on
from noisylabels.experiment.table_recipe import choose_for_table, settled
from noisylabels.study.search_space import WHAT, applied, dimensions

if TYPE_CHECKING:
    import optuna

VALIDATION = 0.1
"""Default share of the training set that is held out to compare trials."""

STARTUP = 5
"""Number of first trials that are not pruned and are drawn at random."""


class _Record(TypedDict):
    config: Config
    search: list[str]
    prune: bool
    files: dict[str, str]
    loss: str
    validation: Count


class Record(_Record, total=False):
    """Content of tune.json; searches of version 0.1 lack the digest."""

    data_digest: str
    chosen: Chosen


@dataclass(frozen=True)
class Tried:
    """A trial and its outcome."""

    number: int  # in order of trial, from 0
    state: str  # "whole", "pruned" or "failed"
    value: float | None  # accuracy on the validation labels at the last epoch that was run
    config: RunConfig  # of the trial


@dataclass(frozen=True)
class Tuned:
    """State of a search.

    Args:
        start: the initial configuration, with its validation share and resolved loss.
        validation: number of validation labels.
        tried: the trials, in order.
        out: the folder of the search.
    """

    start: RunConfig
    validation: int
    tried: tuple[Tried, ...]
    out: Path

    @property
    def ranked(self) -> list[Tried]:
        """Complete trials, best first; ties in order of trial."""
        whole = [trial for trial in self.tried if trial.state == "whole" and trial.value is not None]
        return sorted(whole, key=lambda trial: -(trial.value or 0.0))

    @property
    def error(self) -> float:
        """Standard error of the best accuracy p, sqrt(p (1 - p) / n), with p at least 1/2n from 0 and 1.

        All of n labels predicted right do not mean that the next one will be.
        """
        n = max(1, self.validation)
        best = min(max(self.ranked[0].value or 0.0, 0.5 / n), 1 - 0.5 / n)
        return math.sqrt(best * (1 - best) / n)


def tune(
    config: RunConfig,
    trials: int = 20,
    *,
    search: Sequence[str] = WHAT,
    by: str = "validation_accuracy",
    prune: bool = True,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Start, resume or extend a search, and return its state.

    The first trial is the given configuration; the next are drawn by Optuna's tree-structured Parzen
    estimator. Each is an ordinary run in a folder below trials/, with the same noise, validation split and
    initial weights. A trial that is below the median of the others at an epoch ends early, after a quarter of
    its epochs at the soonest. A killed trial is resumed from its checkpoint and counts once.

    Args:
        config: the configuration to start from. Its `out` is the folder of the search. If it has no
            validation share, a tenth is held out. The loss "auto" is resolved first.
        trials: total number of trials, complete and pruned.
        search: names from `WHAT`.
        by: the objective: validation_accuracy, on the given labels, correct or not. Symmetric noise lowers it
            for all models alike and keeps their order in expectation, so no clean label is needed. Test data
            are never used.
        prune: whether to end trials early.
        reporter: receives the progress.
        stop: called after every step; return True to interrupt.

    Raises:
        InputError: Optuna is not installed, nothing to search, another search in the folder, or an error of
            `run`.
        Interrupted: SIGINT, SIGTERM or `stop`; the same call resumes the search.
    """
    if by != "validation_accuracy":
        why = "test data must not select" if by.startswith("test") else "it is not supported"
        raise InputError(f"trials cannot be compared by {by!r}: {why}; use validation_accuracy")
    check_whole(trials, "trials", 1)
    for name in search:
        check_choice(name, WHAT, "thing to search")
    _optuna()
    reporter = _Once(reporter or Silent())
    config = canonical(config)
    if config.validation == 0:
        free = [name for name in config.table_recipe.split(",") if name != "validation"]
        config = replace(config, validation=VALIDATION, table_recipe=",".join(free))
    out = Path(config.out).expanduser() if config.out is not None else _default_out(config)
    with locked_folder(out, "the folder"):
        start, held = _begin(replace(config, out=str(out)), out, search, prune, reporter)
        return _search(start, held, out, trials, search, prune, reporter, stop)


def _optuna() -> Any:
    optuna = import_optional("optuna", "tune needs Optuna: pip install 'noisylabels[tune]'")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _default_out(config: RunConfig) -> Path:
    return Path("tunes") / f"{real_path(Path(config.data)).name}-{run_id(replace(config, out=None))}"


def _begin(
    config: RunConfig, out: Path, search: Sequence[str], prune: bool, reporter: Reporter
) -> tuple[RunConfig, int]:
    """Return the configuration with its loss resolved, and the number of validation labels."""
    from noisylabels.data.split import validation_split

    resolved = resolve(config)
    about: dict[str, Any] = {
        "config": to_dict(config, NOT_IDENTITY),
        "search": sorted(set(search)),
        "prune": prune,
        "files": resolved.files["noise files"] | resolved.files["label files"],
    }
    path = out / "tune.json"
    if path.exists():
        there = read_checked(path, Record, "restore it, or give another --out")
        defaults = to_dict(RunConfig(), NOT_IDENTITY)  # newer settings were at their defaults
        was, now = ({**each, **defaults, **each["config"], "config": None} for each in (there, about))
        for key, value in now.items():
            if was.get(key) != value:
                raise InputError(
                    f"{out} holds another search: its {key} is {was.get(key)!r}, expected {value!r}; "
                    "give another --out"
                )
        if config.table_recipe and (chosen := there.get("chosen")):
            config = settled(config, chosen)
        return replace(config, loss=there["loss"]), there["validation"]
    if any(not file.name.startswith(".") for file in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no search; give another --out")
    train, _, labels, _ = corrupted(resolved, reporter)
    positions = trained_on(config, train)
    if config.table_recipe:
        about["chosen"] = choose_for_table(config, train, labels.given, positions)
        config = canonical(settled(config, about["chosen"]))
        reporter.note(f"model {config.model}, loss {config.loss}: {about['chosen']['why']}")
    elif config.loss == AUTO:
        steps = number_of_steps(config, len(train) if positions is None else len(positions))
        chosen = choose(train, steps, labels.given, config.seed)
        reporter.note(str(chosen))
        config = canonical(replace(config, loss=chosen.loss))
    if not dimensions(config, search):
        raise InputError(
            f"{config.loss!r} has nothing to search among {', '.join(search)}; add lr to --search"
        )
    count = len(train) if positions is None else len(positions)
    held = len(validation_split(count, config.validation, config.seed)[1])
    write_json(path, about | {"loss": config.loss, "validation": held, "data_digest": train.digest})
    return config, held


def _search(
    start: RunConfig,
    held: int,
    out: Path,
    trials: int,
    search: Sequence[str],
    prune: bool,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> Tuned:
    """Run the missing trials, up to `trials` in total."""
    optuna = _optuna()
    from optuna.trial import TrialState

    space = dimensions(start, search)
    pruner: Any = optuna.pruners.NopPruner()
    if prune:
        pruner = optuna.pruners.MedianPruner(STARTUP, n_warmup_steps=max(1, start.epochs // 4))
    journal = out / "trials.jsonl"
    _mend(journal)
    try:
        backend = optuna.storages.journal.JournalFileBackend(str(journal), _HeldAlready())
        storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(
            storage=storage, study_name="tune", direction="maximize", pruner=pruner, load_if_exists=True
        )
        _tried(study, start)
    except OSError:
        raise
    except Exception as error:  # of a journal that Optuna did not write
        raise InputError(
            f"{journal} is not the journal of this search ({one_line(error)}); restore it, or give another "
            "--out"
        ) from None
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial({each.name: each.start for each in space})
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # of a killed process: the folder is
        study.tell(trial.number, state=TrialState.FAIL)  # locked; its run resumes under a new number
        if len(trial.params) == len(space):
            study.enqueue_trial(trial.params)
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    if 0 < len(study.get_trials(False, ended)) < trials:
        digest = corrupted(resolve(start)).train.digest
        if read_checked(out / "tune.json", Record).get("data_digest", digest) != digest:
            raise InputError(f"{start.data} has changed since the trials in {out}; give another --out")
    while len(done := study.get_trials(False, ended)) < trials:
        # a new sampler per trial, so that a resumed search draws the same trials as an uninterrupted one
        seed = derive_seed(start.seed, "tune", len(done)) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        trial = study.ask()
        values = {each.name: trial.suggest_float(each.name, each.low, each.high, log=True) for each in space}
        config = replace(applied(start, values), out=None)
        config = replace(config, out=str(check_within(out / "trials" / run_id(config), out)))
        reporter.note(f"trial {len(done) + 1} of {trials}: loss {config.loss}, lr {config.lr:g}")
        _carry_out(study, trial, config, reporter, stop)
    return Tuned(start, held, tuple(_tried(study, start)), out)


def _carry_out(
    study: optuna.Study,
    trial: optuna.Trial,
    config: RunConfig,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> None:
    """Run a trial and report its outcome to the study; an interrupted trial stays open."""
    from optuna.trial import TrialState

    from noisylabels.core.interrupt import Interrupted

    watch = _Watch(reporter, trial)
    try:
        result = run(config, watch, stop=lambda: watch.pruned or stop())
    except Interrupted as stopped:
        if not watch.pruned or stop():
            raise
        del stopped
        study.tell(trial, state=TrialState.PRUNED)
        remove_file(Path(config.out or "") / "checkpoint.pt")
        return
    rows = result.history.rows if result.status == "done" else []
    # a diverged trial gets the worst value, so that the search avoids its region
    study.tell(trial, float(rows[-1]["validation_accuracy"]) if rows else 0.0)


class _Once:
    """A reporter that forwards everything, each note only once, because all trials read the same data."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.said: set[str] = set()

    def note(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.reporter.note(text)

    def start(self, text: str) -> None:
        announce(self.reporter, text)

    def decoding(self, what: str, done: int, total: int) -> None:
        self.reporter.decoding(what, done, total)

    def begin(self, epochs: int) -> None:
        self.reporter.begin(epochs)

    def step(self, epoch: int, done: int, total: int) -> None:
        self.reporter.step(epoch, done, total)

    def epoch(self, row: dict[str, Any]) -> None:
        self.reporter.epoch(row)


class _Watch:
    """A reporter that forwards everything, and reports the epochs to the pruner."""

    def __init__(self, reporter: Reporter, trial: optuna.Trial) -> None:
        self.reporter = reporter
        self.trial = trial
        self.pruned = False

    def note(self, text: str) -> None:
        self.reporter.note(text)

    def start(self, text: str) -> None:
        announce(self.reporter, text)

    def decoding(self, what: str, done: int, total: int) -> None:
        self.reporter.decoding(what, done, total)

    def begin(self, epochs: int) -> None:
        self.reporter.begin(epochs)

    def step(self, epoch: int, done: int, total: int) -> None:
        self.reporter.step(epoch, done, total)

    def epoch(self, row: dict[str, Any]) -> None:
        self.reporter.epoch({name: value for name, value in row.items() if not name.startswith("test_")})
        self.trial.report(row["validation_accuracy"], row["epoch"])
        self.pruned = self.trial.should_prune()


def _tried(study: optuna.Study, start: RunConfig) -> list[Tried]:
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: "whole", TrialState.PRUNED: "pruned"}
    found: list[Tried] = []
    for trial in study.get_trials(False, tuple(states)):
        state = "failed" if trial.value == 0.0 and trial.state == TrialState.COMPLETE else states[trial.state]
        config = dataclasses.replace(applied(start, trial.params), out=None)
        found.append(Tried(len(found) + 1, state, trial.value, config))
    return found


class _HeldAlready:
    """A no-op lock for Optuna's journal, because `tune` has locked the folder.

    Optuna's own lock persists when its process is killed and would then block.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(journal: Path) -> None:
    """Truncate an incomplete last line that a killed process left."""
    check_not_link(journal)  # Optuna would follow it
    if journal.exists():
        text = read_bytes(journal)
        if text and not text.endswith(b"\n"):
            with open_in_place(journal, "r+b") as file:
                file.truncate(text.rfind(b"\n") + 1)
