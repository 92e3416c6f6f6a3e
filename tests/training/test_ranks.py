"""A run in several processes: the same as in one, resumed by any number, ended together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.device import pick_device
from noisylabels.core.process import World, world
from noisylabels.data.augment import parse_augment
from noisylabels.data.loader import Batches
from noisylabels.experiment import RunConfig
from noisylabels.experiment.folder import environment, read_result
from noisylabels.methods.catalog import METHODS
from noisylabels.methods.expression import method
from noisylabels.training.divided import DividedRun
from noisylabels.training.ranks import Ranks, _check_unshared
from noisylabels.training.sharing import Sharing, rows_of
from ranks_worker import network, on_ranks, ready, trained
from warm_process import WarmPopen

METHOD_CASES = [
    *("standard", "elr", "sop", "sop(lr_u=1,ratio_consistency=0.9,ratio_balance=0.1)", "forward", "backward"),
    *("t_revision(start=0.5)", "t_revision(how=reweight,start=0.5)", "volminnet"),
    *("coteaching(forget_rate=0.3,num_gradual=2)", "coteaching_plus(forget_rate=0.3,warmup=1)"),
    *("jocor(forget_rate=0.3,num_gradual=2,lambda_=0.5)", "early_stop(T1=0,T2=1,T3=0)"),
    *("ogc(epsilon=1,time_frame=2,queue_size=24)", "agreement(warmup=1)", "mixup"),
    *("relabel", "relabel(how=relabel)", "relabel(how=reweigh)", "elr_plus(lambda_ramp=0.5)"),
    *("dividemix(rate=0.4,warmup=1,ramp=1)", "dividemix(rate=0.6)", "ssr(k=5)"),
]
SHORT = {"settings": {"epochs": 2}}
OTHER_CASES: dict[str, dict[str, Any]] = {
    "a loss over the whole batch": {"loss": "peer(ce)"},
    "a loss of two views": {"loss": "gjs"},
    "a loss that learns from the batches": {"loss": "nce+auto*mae"},
    "weights": {"weights": True, "options": {"weight": [0.3, 1.0, 4.0]}},
    "all settings": {
        "settings": {
            **{"ema": 0.8, "clip": 0.1, "l1": 1e-4, "validation": 0.1, "optimizer": "adamw", "epochs": 2},
            "keep_epoch": "best",
        }
    },
    "a frozen body, and batches that are too small to be divided": {
        "settings": {"frozen_epochs": 1, "epochs": 2, "batch_size": 5}
    },
    "float16": {"settings": {"precision": "float16", "clip": 1.0, "epochs": 1}},
}
HALF = ("float16",)
CASES = {name: {"method": name, **SHORT} for name in METHOD_CASES} | {
    name: SHORT | case for name, case in OTHER_CASES.items()
}
ON_THREE = (*METHOD_CASES, "a frozen body, and batches that are too small to be divided")
ON_TWO = ("standard", "coteaching(forget_rate=0.3,num_gradual=2)", *OTHER_CASES)
DROPOUT = {"network": {"dropout": 0.5}, **SHORT}


@pytest.fixture(scope="module")
def ends(tmp_path_factory) -> dict[Any, Any]:
    """Return what every run ends with, by number of processes: of each rank, by case."""
    work = tmp_path_factory.mktemp("ranks")

    def stopped(size: int) -> dict[str, Any]:
        return SHORT | {"method": "elr", "folder": str(work / f"from-{size}"), "stop": 4}

    def resumed(size: int) -> dict[str, Any]:
        return stopped(size) | {"stop": None}

    pause = {"folder": str(work / "dropout"), "stop": 2, "stop_rank": 1}
    on_three = {name: CASES[name] for name in ON_THREE} | {"stopped": stopped(3)}
    on_two = {name: CASES[name] for name in ON_TWO} | {
        "stopped": stopped(2),
        "from 1": resumed(1),
        "from 3": resumed(3),
        "dropout": DROPOUT,
        "one rank asks to stop": DROPOUT | pause,
        "resumed with dropout": DROPOUT | {"folder": str(work / "dropout")},
        "batch normalization": {"network": {"norm": True}, "settings": {"epochs": 1, "lr": 1e-9}},
        "started differently": {**SHORT, "by_rank": {"1": {"network": {"seed": 1}}}},
        "other data": {**SHORT, "by_rank": {"1": {"settings": {"epochs": 1}}}},
        "another checkpoint": {**SHORT, "by_rank": {"0": {"folder": str(work / "own")}}},
        "other models": {**SHORT, "by_rank": {"1": {"network": {"norm": True}}}},
        "one process": {"method": "one process"},
        "alone": {"alone": True},
        "ddp": {"gradient": "ddp"},
        "ddp sum": {"gradient": "ddp sum"},
        "fsdp": {"gradient": "fsdp"},
    }
    one = {name: trained(case) for name, case in CASES.items()}
    one["stopped"] = trained(stopped(1))
    trained(SHORT | {"folder": str(work / "own")})
    found: dict[Any, Any] = {1: one}
    for size, cases in ((3, on_three), (2, on_two)):
        each = on_ranks(size, list(cases.values()), work / f"on-{size}")
        found[size] = [dict(zip(cases, rank, strict=True)) for rank in each]
    one["from 2"] = trained(resumed(2))
    one["batch normalization"] = trained(on_two["batch normalization"])
    return found


def assert_alike(found: dict[str, Any], expected: dict[str, Any], precise: bool = True) -> None:
    """Check histories and states; float32 rounds to 6e-8, a 16-bit network to 5e-4 of a value."""
    assert found["error"] is None
    assert expected["error"] is None
    rtol, atol = (2e-5, 2e-6) if precise else (1e-2, 2e-3)
    assert found["state"].keys() == expected["state"].keys()
    for name, value in expected["state"].items():
        torch.testing.assert_close(found["state"][name], value, rtol=rtol, atol=atol, msg=name)
    assert len(found["rows"]) == len(expected["rows"]) > 0
    for row, other in zip(found["rows"], expected["rows"], strict=True):
        assert row.keys() == other.keys()
        for name, value in other.items():
            numbers = isinstance(value, int | float)
            assert row[name] == (pytest.approx(value, rel=rtol, abs=atol) if numbers else value), name


# The same as one process ----------------------------------------------------------------------------


def test_every_method_that_trains_is_seen():
    assert {method(name).name for name in METHOD_CASES} == {n for n, row in METHODS.items() if not row.fitted}
    assert {row.rank_inputs for name, row in METHODS.items() if not row.fitted} == {"part", "whole"}


@pytest.mark.parametrize(
    ("size", "name"), [*((3, name) for name in ON_THREE), *((2, name) for name in ON_TWO)]
)
def test_the_curve_and_the_state_are_those_of_one_process(size, name, ends):
    """With 41 examples in batches of 16, 16 and 9, which three ranks cannot divide equally."""
    expected = ends[1][name]
    for rank in ends[size]:
        assert_alike(rank[name], expected, precise=name not in HALF)
        for other, value in ends[size][0][name]["state"].items():
            assert torch.equal(rank[name]["state"][other], value), other


def test_a_run_changes_its_network(ends):
    for name, case in CASES.items():
        start = network(**case.get("network", {})).state_dict()["5.weight"]
        end = ends[1][name]["network"]["5.weight"]
        assert (end - start).abs().max() > 1e-3, name


def test_networks_that_were_created_differently_begin_as_that_of_rank_0(ends):
    for rank in ends[2]:
        assert_alike(rank["started differently"], ends[2][0]["standard"])


def test_a_method_that_trains_in_one_process_is_refused_and_so_are_different_data(ends):
    for rank in ends[2]:
        assert rank["one process"]["error"] == (
            "the method undivided runs in one process, and 2 were started; leave out torchrun, or define "
            "rank_inputs in a method of your own"
        )
        assert (
            rank["other data"]["error"] == "the processes of this run were given different data or settings"
        )
        assert rank["another checkpoint"]["error"].startswith(
            "the processes of this run do not see the same checkpoint in "
        )
        assert (
            rank["other models"]["error"] == "the processes of this run were given different models or data"
        )


def test_statistics_of_batch_normalization_are_means_over_the_ranks(ends):
    one, ranks = ends[1]["batch normalization"], ends[2]
    for rank in ranks:
        state = rank["batch normalization"]["state"]
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            name = f"networks.0.1.{name}"
            assert torch.equal(state[name], ranks[0]["batch normalization"]["state"][name])
            # parts of 8 and 8, and in the last batch of 4 and 5
            torch.testing.assert_close(state[name], one["state"][name], rtol=0.05, atol=5e-3)


def test_a_classifier_of_one_rank_does_not_wait_for_the_others(ends):
    assert ends[2][0]["alone"] == trained({"alone": True})
    assert ends[2][1]["alone"] == {}


def test_synchronized_normalization_has_the_state_of_the_layers_and_goes_away():
    model = ready("standard")(nn.Sequential(network(norm=True)), nl.loss("ce"))
    layer = model.networks[0][0][1]
    divided = DividedRun(Ranks(), model, [])
    divided._synchronize_normalization()
    other = model.networks[0][0][1]
    assert type(other) is nn.SyncBatchNorm
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        assert getattr(other, name) is getattr(layer, name), name
    divided.restore()
    assert model.networks[0][0][1] is layer


def test_a_loss_in_the_wrappers_of_others_has_the_gradient_of_the_global_mean(ends):
    expected = trained({"gradient": "plain"})
    for rank in ends[2]:
        for how in ("ddp", "ddp sum", "fsdp"):
            assert rank[how].keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(rank[how][name], value, rtol=1e-5, atol=1e-7)


# Draws ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_see_the_images_that_one_process_sees(size):
    pixels = torch.randint(256, (23, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    how = {"batch_size": 8, "device": "cpu", "mean": [0.5], "std": [0.2], "shuffle": True, "seed": 3}
    batches = Batches(
        pixels, torch.arange(23), augment=parse_augment("crop:2+flip"), views=("weak", "strong"), **how
    )
    every = [
        list(batches.epoch(1, rows=lambda n, rank=rank: rows_of(n, (rank, size)))) for rank in range(size)
    ]
    whole = list(batches.epoch(1))
    assert [len(batch.target) for batch in whole] == [8, 8, 7]
    for k, batch in enumerate(whole):
        assert batch.rows is None
        for rank in range(size):
            part = every[rank][k]
            low, high = part.rows
            assert (low, high) == rows_of(8 - k // 2, (rank, size))
            assert torch.equal(part.target, batch.target)
            assert torch.equal(part.positions, batch.positions)
            for view, of_all in zip(part.views, batch.views, strict=True):
                assert torch.equal(view, of_all[low:high])
    assert [rows_of(n, (1, size)) for n in (2 * size, 2 * size - 1)] == [(2, 4), (0, 2 * size - 1)]
    stopped = list(batches.epoch(1, 1, 2))
    assert len(stopped) == 1
    assert torch.equal(stopped[0].inputs, whole[1].inputs)


def drawn(rank: int, rows: int, monkeypatch) -> list[torch.Tensor]:
    """Return what a network draws in two passes of a step, on one of two ranks."""
    monkeypatch.setattr(Ranks, "gather", lambda self, tensor: [torch.zeros_like(tensor)] * 2)
    share = Sharing(Ranks(rank, 2), None, rows, seed=4)
    return [share(lambda x: x + torch.rand_like(x), torch.zeros(rows, 5)) for _ in range(2)]


def test_networks_draw_differently_on_each_rank_and_leave_the_common_stream(monkeypatch):
    before = torch.get_rng_state()
    found = [*drawn(0, 4, monkeypatch), *drawn(1, 4, monkeypatch)]
    assert torch.equal(torch.get_rng_state(), before)
    assert len({float(each.sum()) for each in found}) == 4
    assert torch.equal(drawn(1, 4, monkeypatch)[0], found[2])


def test_outputs_of_a_batch_that_is_not_divided_are_the_same_on_every_rank(monkeypatch):
    first, other = drawn(0, 3, monkeypatch), drawn(1, 3, monkeypatch)
    assert all(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    assert not torch.equal(*first)


# Stop and resume ------------------------------------------------------------------------------------


def test_a_run_goes_on_in_another_number_of_processes(ends):
    """Three steps an epoch; ranks stop one step after they are asked to."""
    whole = ends[1]["elr"]
    assert ends[1]["stopped"]["stopped"] == [2, 1]
    for size in (2, 3):
        assert [rank["stopped"]["stopped"] for rank in ends[size]] == [[2, 2]] * size
    assert_alike(ends[1]["from 2"], whole)
    for rank in ends[2]:
        assert_alike(rank["from 1"], whole)
        assert_alike(rank["from 3"], whole)


def test_all_stop_where_one_asks_to_and_resume_bit_for_bit_the_same(ends):
    for rank in ends[2]:
        assert rank["one rank asks to stop"]["stopped"] == [1, 3]
        expected = rank["dropout"]
        assert rank["resumed with dropout"]["rows"] == expected["rows"]
        for name, value in expected["state"].items():
            assert torch.equal(rank["resumed with dropout"]["state"][name], value), name


# The command line -----------------------------------------------------------------------------------

BRIEF = ["digits", "--model", "mlp", "--width", "0.25", "--noise", "symmetric:0.3", "--device", "cpu"]
FLAGS = [*BRIEF, "--loss", "nce+mae", "--batch-size", "64", "--checkpoint-minutes", "0.0001"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(out: Path, *flags: str, size: int = 2) -> list[WarmPopen]:
    """Start the processes of a run as torchrun does."""
    source = str(Path(nl.__file__).parents[1])
    common = {"PYTHONPATH": source, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    common["MASTER_PORT"] = str(free_port())
    words = ["-m", "noisylabels", "train", *flags, "--out", str(out)]
    return [
        WarmPopen(
            words,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def wait_for_epoch(out: Path, process: WarmPopen) -> None:
    """Wait until the history is written, again if it is there."""

    def stamp() -> int:
        path = out / "history.jsonl"
        return path.stat().st_ino ^ path.stat().st_mtime_ns if path.exists() else 0

    before, end = stamp(), time.monotonic() + 60
    while stamp() == before and time.monotonic() < end and process.poll() is None:
        time.sleep(0.002)
    assert stamp() != before


def complaints(*outputs: str) -> list[str]:
    return [line for text in outputs for line in text.splitlines() if line.startswith("noisylabels:")]


def kill(lost: int, out: Path) -> int:
    """Kill a process of a run, check how the other ends, and return the epochs in the checkpoint."""
    processes = start(out, *FLAGS, "--epochs", "200")
    wait_for_epoch(out, processes[0])
    processes[lost].send_signal(signal.SIGKILL)
    other = processes[1 - lost]
    _, errors = other.communicate(timeout=30)
    assert other.returncode == 1
    assert complaints(errors) == [
        f"noisylabels: process {2 - lost} of 2 lost the connection to another one, which has ended; run the "
        "same command again to resume"
    ]
    processes[lost].communicate()
    kept: int = torch.load(out / "checkpoint.pt", weights_only=True)["epoch"]
    assert kept <= len((out / "history.jsonl").read_text().splitlines()) < 200
    return kept


@pytest.mark.cluster
def test_the_end_of_any_process_ends_all_in_one_line(tmp_path):
    kill(1, tmp_path / "run")


@pytest.mark.cluster
def test_a_run_resumes_after_a_kill_and_a_signal_to_one_process_stops_all(tmp_path):
    out = tmp_path / "run"
    kept = kill(0, out)
    processes = start(out, *FLAGS, "--epochs", "200")
    wait_for_epoch(out, processes[0])
    processes[1].terminate()
    ends = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [130, 143]
    said = complaints(*(errors for _, errors in ends))
    assert len(said) == 1
    assert said[0].endswith("; run the same command again to resume")
    assert torch.load(out / "checkpoint.pt", weights_only=True)["epoch"] >= kept


@pytest.mark.cluster
def test_a_run_that_diverges_fails_in_all_processes_with_one_line(tmp_path):
    processes = start(tmp_path / "run", *BRIEF, "--loss", "ce", "--lr", "1e30", "--epochs", "2")
    ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [1, 1], ends
    (line,) = complaints(*(errors for _, errors in ends))
    assert line.startswith("noisylabels: training diverged in epoch 1, step ")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"


@pytest.mark.cluster
def test_one_process_prepares_writes_and_reports(tmp_path):
    """What a run chooses and estimates from its data is found in the folder by the others."""
    draw = torch.randn(90, 3, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(3).repeat(30, 1)
    rows = [",".join([*(f"{x:.3f}" for x in row), "uvw"[i % 3]]) for i, row in enumerate(draw.tolist())]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,label", *rows]))
    flags = ["--data", str(tmp_path / "table.csv"), "--noise", "symmetric:0.3", "--epochs", "2"]
    flags += ["--method", "coteaching(num_gradual=2)", "--batch-size", "16", "--device", "cpu"]
    for state in ("training ", "is done already"):
        processes = start(tmp_path / "run", *flags)
        ends = [process.communicate(timeout=60) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], ends
        assert ends[0][0].startswith("trained ")
        assert ends[0][1].count(state) == 1
        assert ends[1] == ("", "")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= {"result.json", "method.json", "model.safetensors", "history.jsonl"}
    assert "checkpoint.pt" not in names
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["processes"] == 2
    assert environment["chosen"]["model"]


@pytest.mark.cluster
@pytest.mark.slow
def test_torchrun_trains_as_the_documentation_says(tmp_path):
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    words += ["-m", "noisylabels", "train", *BRIEF, "--loss", "ce", "--epochs", "1", "--out", "run"]
    source = str(Path(nl.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("test accuracy") == 1
    assert (tmp_path / "run" / "result.json").exists()


def test_other_commands_are_refused_under_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for verb in (["study", "status", "x"], ["audit", "photos"], ["tune", "digits"], ["list", "losses"]):
        assert main(verb) == 2
        assert capsys.readouterr().err == (
            f"noisylabels: {verb[0]} runs in one process, and 2 were started; leave out torchrun, between "
            "whose processes only train divides its work\n"
        )


def test_an_error_of_one_process_alone_is_reported_once_the_first_has_not_ended_the_run(monkeypatch, capsys):
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert main(["train", "digits", "--epochs", "-1"]) == 2
        assert capsys.readouterr().err.startswith("noisylabels: ")
        assert len(waited) == int(rank)


def test_one_process_of_torchrun_is_as_without(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert main(["train", *BRIEF, "--loss", "ce", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert not torch.distributed.is_initialized()
    assert "processes" not in json.loads((tmp_path / "run" / "environment.json").read_text())
    assert main(["list", "models"]) == 0


@pytest.mark.parametrize("given", [("2", "2"), ("-1", "2"), ("0", "many"), ("0", "0")])
def test_numbers_that_are_no_process_are_named(given, monkeypatch):
    for name, value in zip(("RANK", "WORLD_SIZE"), given, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"RANK, WORLD_SIZE and LOCAL_RANK are .*as torchrun sets them"):
        world()


def test_the_place_of_a_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert world() == World(0, 1, 0)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert world() == World(5, 8, 1)


def test_each_process_of_a_machine_has_a_gpu(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="process 4 of this machine has no GPU, it has 2"):
        pick_device("cuda")
    with pytest.raises(InputError, match="the device is 'cuda:1', and each of several processes"):
        pick_device("cuda:1")
    assert pick_device("cpu") == torch.device("cpu")


def test_a_launcher_may_show_each_process_its_gpu(monkeypatch):
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: torch.ones(1) if str(device) == "cuda:0" else None)
    assert pick_device("cuda") == torch.device("cuda:0")


def test_processes_that_share_a_gpu_are_named(monkeypatch):
    store = dist.HashStore()
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: store)
    _check_unshared("node1 GPU-a", World(0, 3, 0))
    _check_unshared("node2 GPU-a", World(1, 3, 0))
    with pytest.raises(InputError, match="processes 1 and 3 of this run use the same GPU"):
        _check_unshared("node1 GPU-a", World(2, 3, 1))


class Alone(Ranks):
    """One of two ranks, of which the other asks for nothing."""

    def _ask(self, flags):
        self.asked = list(flags)

    def _answer(self, flags):
        found, self.asked = getattr(self, "asked", None), None
        return found or [False for _ in flags]


def test_what_a_rank_asks_for_once_is_not_lost_when_another_answer_comes_first():
    ranks = Alone(0, 2)
    given = [(False, True), (True, False), (False, False), (False, False), (False, False)]
    answers = [ranks.agree(flags, now=False) for flags in given]
    assert answers == [[False, False], [False, True], [False, False], [True, False], [False, False]]


def test_what_was_answered_is_not_asked_again_by_those_who_have_not_heard():
    """A checkpoint stays due until the answer comes, one step later."""
    ranks, saved = Alone(0, 2), []
    for step in range(1, 21):
        due = step - (saved[-1] if saved else 0) >= 5
        if ranks.agree([False, due], now=False)[1]:
            saved.append(step)
    assert saved == [6, 12, 18]


def in_turn(monkeypatch: pytest.MonkeyPatch, block: Callable[[int], None], size: int) -> dict[int, str]:
    """Run a block in turn on ranks that are threads of this process, and return how each ended."""
    store, ended = dist.HashStore(), {}
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: store)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr("noisylabels.training.ranks._reports", [])
    monkeypatch.setattr("noisylabels.training.ranks._turns", [])
    monkeypatch.setattr("noisylabels.training.ranks.len", lambda _: 1, raising=False)  # every thread's first

    def of(rank: int) -> None:
        try:
            with Ranks(rank, size).in_turn():
                block(rank)
            ended[rank] = "done"
        except Exception as error:
            ended[rank] = type(error).__name__

    threads = [threading.Thread(target=of, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(ended) == size
    return ended


def test_ranks_prepare_in_turn_and_go_on_together(monkeypatch):
    order: list[tuple[str, int]] = []

    def block(rank: int) -> None:
        order.append(("begin", rank))
        time.sleep(0.05)
        order.append(("end", rank))

    assert in_turn(monkeypatch, block, 3) == dict.fromkeys(range(3), "done")
    assert order[:2] == [("begin", 0), ("end", 0)]
    assert {rank for _, rank in order[2:]} == {1, 2}


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_whose_preparation_fails_ends_the_wait_of_the_others(failing: int, monkeypatch):
    began = time.monotonic()

    def block(rank: int) -> None:
        if rank == failing:
            raise InputError("no such file")

    ended = in_turn(monkeypatch, block, 3)
    assert ended[failing] == "InputError"
    assert {ended[rank] for rank in range(3) if rank != failing} <= {"RankLost"}
    assert time.monotonic() - began < 10


def test_only_ranks_that_joined_are_recorded(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert "processes" not in environment(torch.device("cpu"))


def test_a_result_of_another_machine_is_waited_for(tmp_path):
    nl.run(RunConfig(data="digits", model="linear", epochs=1, out=str(tmp_path / "run")))
    result, hidden = tmp_path / "run" / "result.json", tmp_path / "hidden"
    result.rename(hidden)
    timer = threading.Timer(0.3, lambda: hidden.rename(result))
    timer.start()
    assert read_result(tmp_path / "run", 30).status == "done"
    timer.join()
    result.unlink()
    with pytest.raises(InputError, match=r"result\.json"):
        read_result(tmp_path / "run", 0.1)
