"""What all tests share."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before numpy and torch are imported, and for the processes that tests start: work this small is slowed
# down by threads that wait for each other, tenfold where two test processes share two cores.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Leave what is imported and collected out of garbage collections, because it lives to the end.

    A full garbage collection takes 0.6 seconds with 16,000 tests: a quarter of the time of collecting them,
    and a tenth of that of running a sample of them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first: of two processes, neither waits at the end for the other's long one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return Chromium or Chrome, headless: one for all tests of a process, which can have no second one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"there is no {', '.join(names)} on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def made_run():
    """Return a function that makes a run up, as `read_results` gives it: no training, every measure."""
    import numpy as np

    from noisylabels.core.config import to_dict
    from noisylabels.experiment import load_config
    from noisylabels.study.results import Run

    def make(
        loss: str,
        noise: str = "symmetric:0.4",
        seed: int = 1,
        *,
        epochs: int = 4,
        classes: int = 3,
        status: str = "done",
        curves: dict[str, Any] | None = None,
        recall: Any = None,
        class_names: tuple[str, ...] | None = None,
        **settings: Any,
    ) -> Run:
        """Return a run with pseudo-random curves of its own, or those that are given."""
        draw = np.random.default_rng([seed, *f"{loss} {noise}".encode()])
        config = to_dict(load_config("digits", noise="none", seed=seed, epochs=epochs, **settings))
        config |= {"loss": loss, "noise": noise}  # whatever they are
        names = ["test_accuracy", "given_accuracy", "true_accuracy"]
        names += ["memorized"] if noise != "none" else []
        names += ["validation_accuracy"] if config["validation"] else []
        drawn = {name: draw.uniform(0.2, 0.9, epochs) for name in names}
        made = {"epoch": np.arange(1.0, epochs + 1), "train_seconds": draw.uniform(1, 2, epochs), **drawn}
        made |= {name: np.asarray(values, dtype=float) for name, values in (curves or {}).items()}
        labels = class_names or tuple(f"class {k}" for k in range(classes))
        shares = draw.uniform(0.1, 1, (epochs, len(labels))) if recall is None else np.asarray(recall, float)
        if status == "failed":
            made, shares = {}, np.zeros((0, 0))
        return Run(
            f"{loss} {noise} {seed} {sorted(settings.items())}",
            status,
            "the loss is not finite" if status == "failed" else "",
            config,
            made,
            shares,
            labels,
            "a made-up processor, 1 thread",
            "noisylabels 0, torch 0, Python 0",
        )

    return make


@pytest.fixture(scope="session")
def small_study(tmp_path_factory) -> Path:
    """Return the folder of a study that was trained: 3 losses, 2 noises, 2 seeds, 2 epochs of an MLP."""
    from noisylabels.study.grid import from_table
    from noisylabels.study.scheduling import carry_out_all
    from noisylabels.study.store import Store

    class Silent:
        def begun(self, cell: Any) -> None: ...

        def ended(self, cell: Any, answer: dict[str, Any]) -> None:
            assert answer["status"] == "done", answer

        def tick(self) -> None: ...

    table = {
        "fixed": {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 2, "lr": 0.05, "validation": 0.1},
        "axes": {"loss": ["nce+mae", "ce", "nce"], "noise": ["none", "symmetric:0.4"], "seed": [1, 2]},
    }
    folder = tmp_path_factory.mktemp("study") / "small"
    cells = from_table(table, "small").cells({"device": "cpu"})
    carry_out_all(Store(folder), cells, Silent())
    return folder


@pytest.fixture
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of a study, instead of starting an interpreter for each, see `warm_process`."""

    import subprocess
    import sys
    from types import SimpleNamespace

    from noisylabels.study import estimate, executors
    from warm_process import WarmPopen

    def start(command: list[str], **how: Any) -> WarmPopen:
        assert command[0] == sys.executable
        return WarmPopen(command[1:], **how)

    warm = SimpleNamespace(**vars(subprocess) | {"Popen": start})
    for module in (executors, estimate):
        monkeypatch.setattr(module, "subprocess", warm)
