"""Usable processors under simulated trees of control groups."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from noisylabels.core import process
from noisylabels.core.process import keep_freed_memory, limit_threads, usable_cpus


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.fixture
def cpus(tmp_path, many):
    """Return the processors under a tree of control groups: the process's line, and files with their text."""

    def make(line: str, files: dict[str, str]) -> int:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(line + "\n")
        for name, text in files.items():
            file = tmp_path / "groups" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return usable_cpus(tmp_path / "proc", tmp_path / "groups")

    return make


V1 = "12:memory:/a\n4:cpu,cpuacct:/docker/x\n3:cpuset:/b"


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "250000 100000"}, 3),  # two and a half: the third is of use
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "6400000 100000"}, 8),  # more than there are
        ("0::/user/job", {"user/job/cpu.max": "max 100000", "user/cpu.max": "300000 100000"}, 3),
        ("0::/user/job", {"user/job/cpu.max": "100000 50000", "cpu.max": "300000 100000"}, 2),
        ("0::/host/path/that/is/not/here", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 8),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2),
        (
            V1,
            {
                "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "100000",
                "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
                "memory/a/cpu.max": "1 100000",  # not of this controller
            },
            1,
        ),
    ],
)
def test_limits_of_control_groups(cpus, line, files, expected):
    assert cpus(line, files) == expected


def test_the_affinity_counts_and_a_system_without_either_does(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
    assert usable_cpus(tmp_path, tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cpus(tmp_path, tmp_path) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path, tmp_path) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_a_process_bound_to_one_processor_has_one():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from noisylabels.core.process import usable_cpus; print(usable_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_threads_are_lowered_to_the_processors_but_not_what_the_user_counted(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        monkeypatch.setattr(process, "usable_cpus", lambda: 3)
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        assert limit_threads() == 4
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert limit_threads() == 3
        monkeypatch.setattr(process, "usable_cpus", lambda: 8)
        assert limit_threads() == 3  # never raised: somebody has lowered it
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library")
def test_freed_memory_is_kept():
    """A block that is freed and allocated again causes no new page faults."""
    code = """
import resource, torch
from noisylabels.core.process import keep_freed_memory
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.empty(2**24).fill_(1)  # 64 MB: 16,384 pages of 4 kB
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times
plain = faults(5)
kept = keep_freed_memory()
faults(20)  # until the heap has grown
print(kept, plain, faults(5))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    kept, plain, after = done.stdout.split()
    if kept == "False":
        pytest.skip("another C library")
    assert float(after) < 0.05 * float(plain)


def test_another_system_keeps_its_ways(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
