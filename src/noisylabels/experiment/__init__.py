"""Runs: from a configuration to a result. Names are resolved to objects only here."""

from noisylabels.experiment.auto_loss import Choice, choose, choose_loss
from noisylabels.experiment.config import RunConfig, load_config, recipes
from noisylabels.experiment.folder import RunResult, read_result
from noisylabels.experiment.reporter import Notes, Reporter, Silent
from noisylabels.experiment.resolve import ResolvedRun, canonical, resolve, run_id
from noisylabels.experiment.running import run
from noisylabels.experiment.sets import corrupt_set, corrupted, load_sets
from noisylabels.experiment.trackers import TRACKERS, catch_up, check_trackers

__all__ = [
    "TRACKERS",
    "Choice",
    "Notes",
    "Reporter",
    "ResolvedRun",
    "RunConfig",
    "RunResult",
    "Silent",
    "canonical",
    "catch_up",
    "check_trackers",
    "choose",
    "choose_loss",
    "corrupt_set",
    "corrupted",
    "load_config",
    "load_sets",
    "read_result",
    "recipes",
    "resolve",
    "run",
    "run_id",
]
