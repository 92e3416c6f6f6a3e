"""From a configuration to a result: names become objects here and nowhere else."""

from noisylabels.experiment.config import RunConfig, canonical, default_out, load_config, recipes, run_id
from noisylabels.experiment.folder import RunResult, read_result
from noisylabels.experiment.reporter import Reporter, Silent
from noisylabels.experiment.running import run
from noisylabels.experiment.sets import corrupt_set, corrupted, load_sets

__all__ = [
    "Reporter",
    "RunConfig",
    "RunResult",
    "Silent",
    "canonical",
    "corrupt_set",
    "corrupted",
    "default_out",
    "load_config",
    "load_sets",
    "read_result",
    "recipes",
    "run",
    "run_id",
]
