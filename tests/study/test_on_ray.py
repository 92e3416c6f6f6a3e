"""Studies on a Ray cluster of three nodes: each cell once, whatever is killed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import noisylabels
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.study import on_ray
from noisylabels.study.grid import from_table
from noisylabels.study.on_ray import OnRay
from noisylabels.study.remote import open_store
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, left, read_rows
from study.test_running import Quiet, untimed

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="tried on Linux alone")

KILLS = 10
FIXED = {"data": "digits", "model": "mlp", "width": 0.1}
TABLE = {"fixed": FIXED | {"epochs": 40}, "axes": {"loss": ["ce", "mae", "nce"], "seed": [1, 2]}}
CELLS = from_table(TABLE, "s").cells({"device": "cpu"})


class Nodes:
    """A cluster of nodes with one processor each, and a head with none."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.nodes: list[Any] = []

    def grow(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=1))

    def lose(self) -> None:
        self.cluster.remove_node(self.nodes.pop(0), allow_graceful=False)

    @property
    def address(self) -> str:
        return str(self.cluster.address)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="Ray is not installed; `make test-cluster` installs it")
    made = Nodes()
    for _ in range(2):
        made.grow()
    yield made
    made.cluster.shutdown()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, undisturbed, in this process."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    carry_out_all(Store(folder), CELLS, Quiet())
    return folder


class Disturbed(Quiet):
    """A view that calls a function at random moments of a study."""

    def __init__(self, disturb: Callable[[], object], times: int) -> None:
        super().__init__()
        self.disturb, self.times = disturb, times
        self.rng = random.Random(1)
        self.next = time.monotonic() + 2

    def tick(self) -> None:
        if self.times and time.monotonic() > self.next:
            self.disturb()
            self.times -= 1
            self.next = time.monotonic() + self.rng.uniform(0.2, 2)


@pytest.mark.slow
@on_linux
@pytest.mark.cluster
@pytest.mark.parametrize(("place", "kills"), [("folder", KILLS), ("url", 4)])
def test_lost_nodes_lose_no_cell_and_repeat_none(
    place: str, kills: int, nodes: Nodes, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))  # the nodes have another one
    folder = tmp_path / "study"
    store = open_store(folder if place == "folder" else folder.as_uri())
    store.note("", CELLS)

    def disturb() -> None:
        nodes.lose()
        nodes.grow()

    view = Disturbed(disturb, kills)
    work = carry_out_all(store, CELLS, view, executor=OnRay(nodes.address))
    while view.times:  # the study was faster
        disturb()
        view.times -= 1
    store.close()
    assert sorted(view.ends) == sorted((cell.name, "done") for cell in CELLS)
    assert work.tries.total() == 0
    assert untimed(read_rows(folder)) == untimed(read_rows(whole))
    assert not list(folder.glob("*/.lease-*"))


@on_linux
@pytest.mark.cluster
def test_a_time_budget_interrupts_tasks_which_resume(nodes: Nodes, whole: Path, tmp_path: Path):
    store, view = Store(tmp_path / "study"), Quiet()
    begun: list[float] = []

    class Watching(Quiet):
        def tick(self) -> None:
            if not begun and list(store.folder.glob("*/history.jsonl")):
                begun.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)

    carry_out_all(store, CELLS, Watching(), executor=OnRay(nodes.address))
    assert begun
    states = [store.state(cell).state for cell in CELLS]
    assert "begun" in states
    assert set(states) <= {"begun", "waiting", "done"}
    carry_out_all(store, left(store, CELLS), view, executor=OnRay(nodes.address, most=1))
    assert {status for _, status in view.ends} == {"done"}
    assert untimed(read_rows(store.folder)) == untimed(read_rows(whole))


@on_linux
@pytest.mark.cluster
def test_a_killed_command_resumes(nodes: Nodes, tmp_path: Path):
    (tmp_path / "s.toml").write_text(
        '[fixed]\ndata = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 60\n[axes]\nseed = [1, 2, 3]\n'
    )
    source = str(Path(noisylabels.__file__).parents[1])
    words = ["study", "run", "s.toml", "--out", "study", "--executor", "ray", "--address", nodes.address]
    command = [sys.executable, "-m", "noisylabels", *words]
    how = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": source}, "text": True}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
    while process.poll() is None and not list((tmp_path / "study").glob("*/history.jsonl")):
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, **how)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 cells done" in done.stdout
    assert len(list((tmp_path / "study").glob("*/result.json"))) == 3


@on_linux
@pytest.mark.cluster
def test_a_process_that_dies_fails_its_cell_after_three_tries(nodes: Nodes, tmp_path: Path):
    (tmp_path / "own.py").write_text("import os\n\n\ndef make():\n    os.kill(os.getpid(), 9)\n")
    table = {
        "fixed": {"data": "digits", "epochs": 1},
        "axes": {"model": [f"{tmp_path / 'own.py'}:make", "mlp"]},
    }
    cells = from_table(table, "s").cells({"device": "cpu"})
    store, view = Store(tmp_path / "study"), Quiet()
    carry_out_all(store, cells, view, executor=OnRay(nodes.address))
    assert [store.state(cell).state for cell in cells] == ["failed", "done"]
    assert "its process ended 3 times without an answer" in store.state(cells[0]).message


class Guarded:
    """Stands for Ray where a cluster asks for a token, of which its own error has a page."""

    def init(self, **settings: object) -> None:
        try:
            raise RuntimeError("RPC error: InvalidAuthToken: Authentication token is missing or incorrect.")
        except RuntimeError as error:
            raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379") from error


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "import_optional", lambda *args: Guarded())


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_missing_token_is_one_line(scheme: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        message = f"the Ray cluster at {address} asks for a token; set RAY_AUTH_MODE=token"
        with pytest.raises(InputError, match=f"^{message}"):
            OnRay(address)


@pytest.mark.usefixtures("guarded")
def test_no_cluster_is_one_line():
    with pytest.raises(InputError, match=r"^there is no Ray cluster at 127\.0\.0\.1:1 .*; start one with"):
        OnRay("127.0.0.1:1")


class Small:
    """Stands for Ray with a cluster of two machines, one of which is lost."""

    def init(self, **settings: object) -> None:
        pass

    def nodes(self) -> list[dict[str, Any]]:
        gone = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
        return [gone, {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0, "GPU": 1.0}

    def remote(self, function: object) -> Any:
        return self

    def options(self, **settings: object) -> None:
        pass


@pytest.mark.parametrize(
    ("needs", "notes"),
    [
        ((1.0, 0.25), []),
        ((1.0, 0.0), ["cells do not use the cluster's GPUs (1); give --gpus-per-cell to use them"]),
        (
            (8.0, 2.0),
            ["no machine of the Ray cluster has 8 CPUs and 2 GPUs, which a cell reserves; waiting for one"],
        ),
    ],
)
def test_a_cluster_that_does_not_fit_is_noted(needs, notes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_ray, "import_optional", lambda *args: Small())
    assert list(OnRay(None, *needs).notes()) == notes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--address", "auto"], "--address belongs to --executor ray; add it, or leave out --address"),
        (["--gpus-per-cell", "1"], "--gpus-per-cell belongs to --executor ray"),
        (["--executor", "ray", "--cpus-per-cell", "0"], "--cpus-per-cell is 0.0, expected"),
        (["--executor", "ray", "--gpus-per-cell=-1"], "--gpus-per-cell is -1.0, expected"),
        (["--executor", "ray", "--gpus-per-cell=1.5"], "--gpus-per-cell is 1.5, expected a part of one GPU"),
        (["--executor", "ray", "--cpus-per-cell=0.00001"], "--cpus-per-cell is 1e-05, expected at most four"),
        (["--executor", "ray", "--threads", "2"], "--threads belongs to --executor processes; on Ray"),
        (["--executor", "ray", "--jobs", "0"], "--jobs 0 runs cells in this process; leave out --jobs"),
    ],
)
def test_settings_that_do_not_fit(words: list[str], message: str, tmp_path: Path, capsys):
    (tmp_path / "s.toml").write_text('[fixed]\ndata = "digits"\n[axes]\nseed = [1]\n')
    assert main(["study", "run", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is missing; run pip install 'noisylabels\[ray\]'"):
        on_ray.OnRay()
