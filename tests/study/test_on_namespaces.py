"""Studies on Ray nodes in network namespaces: machines with addresses of their own, whose network fails.

Unlike a killed node, one that is cut off goes on for a while: its cell is submitted again elsewhere while the
first process still holds the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import noisylabels
from noisylabels.study.grid import from_table
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, read_rows
from study.test_running import Quiet, untimed

TABLE = {
    "fixed": {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 150},
    "axes": {"loss": ["ce", "mae", "nce"], "seed": [1, 2]},
}

QUICK = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # after which a node that is cut off ends itself
    "RAY_gcs_server_request_timeout_seconds": "5",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Network:
    """Machines on one bridge, each a network namespace with a Ray node.

    Args:
        folder: for the files of Ray; Unix sockets allow short paths only.
    """

    def __init__(self, folder: str) -> None:
        self.name = f"nl{os.getpid() % 10_000}"
        self.net = f"10.231.{os.getpid() % 200}"
        self.environment = os.environ | QUICK | {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
        self.made = 0
        ip("link", "add", self.name, "type", "bridge")
        ip("link", "set", self.name, "up")
        self.address = f"{self.net}.1:6379"
        self.head = self.machine()
        head = ["--head", "--port", "6379", "--num-cpus", "0", "--include-dashboard", "false"]
        self.ray(self.head, *head, "--temp-dir", folder)

    def machine(self) -> str:
        """Make a machine without a node, and return its name."""
        self.made += 1
        name, link = f"{self.name}-{self.made}", f"{self.name}v{self.made}"
        ip("netns", "add", name)
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", link, "master", self.name, "up")
        ip("-n", name, "addr", "add", f"{self.net}.{self.made}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")
        return name

    def ray(self, machine: str, *words: str) -> None:
        """Start a node on a machine."""
        own = ["--node-ip-address", f"{self.net}.{machine.rpartition('-')[2]}"]
        memory = ["--object-store-memory", "80000000", "--disable-usage-stats"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *own, *memory]
        done = subprocess.run(
            self.on(machine, command), env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def grow(self) -> str:
        """Add a machine with a node of one processor."""
        name = self.machine()
        self.ray(name, "--address", self.address, "--num-cpus", "1")
        return name

    def cut_off(self, machine: str) -> None:
        """Unplug a machine."""
        ip("link", "set", self.name + "v" + machine.rpartition("-")[2], "down")

    def kill(self, machine: str) -> None:
        """Kill everything on a machine."""
        found = subprocess.run(["ip", "netns", "pids", machine], capture_output=True, text=True, check=True)
        for pid in map(int, found.stdout.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    @staticmethod
    def on(machine: str, command: list[str]) -> list[str]:
        """Return a command that runs on a machine."""
        return ["ip", "netns", "exec", machine, *command]

    def close(self) -> None:
        """Remove all of it."""
        for made in range(1, self.made + 1):
            with contextlib.suppress(subprocess.CalledProcessError):
                self.kill(f"{self.name}-{made}")
                ip("netns", "delete", f"{self.name}-{made}")
        ip("link", "delete", self.name)


@pytest.fixture
def network() -> Iterator[Network]:
    pytest.importorskip("ray", reason="Ray is not installed; `make test-cluster` installs it")
    if shutil.which("ip") is None or subprocess.run(["unshare", "--net", "true"], check=False).returncode:
        pytest.skip("network namespaces need root and iproute2")
    with tempfile.TemporaryDirectory(prefix="nlray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Network(folder)
        yield made
        made.close()


def wait_for(text: str, folder: Path, process: subprocess.Popen[str], count: int = 1) -> None:
    """Wait until so many runs of a study have a file."""
    end = time.monotonic() + 120
    while len(list(folder.glob(f"*/{text}"))) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.cluster
def test_machines_that_are_cut_off_or_die_lose_no_cell(network: Network, tmp_path: Path):
    lines = ["[fixed]", *(f"{name} = {value!r}" for name, value in TABLE["fixed"].items())]
    lines += ["[axes]", *(f"{name} = {value!r}" for name, value in TABLE["axes"].items())]
    (tmp_path / "s.toml").write_text("\n".join(lines))
    first, second = network.grow(), network.grow()
    words = ["study", "run", "s.toml", "--device", "cpu", "--out", "study"]
    command = [sys.executable, "-m", "noisylabels", *words, "--executor", "ray", "--address", network.address]
    process = subprocess.Popen(
        network.on(network.head, command),
        cwd=tmp_path,
        env=network.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "study"
    wait_for("history.jsonl", folder, process)
    network.cut_off(first)
    network.grow()
    wait_for("result.json", folder, process, 2)
    network.kill(second)
    network.grow()
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "6 of 6 cells done" in out
    cells = from_table(TABLE, "s").cells({"device": "cpu"})
    carry_out_all(Store(tmp_path / "whole"), cells, Quiet())
    assert untimed(read_rows(folder)) == untimed(read_rows(tmp_path / "whole"))
