"""Runs as numbers: read from folders and exported files, set apart, measured by hand arithmetic."""

from __future__ import annotations

import json
import math
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.core.checks import InputError
from noisylabels.study.exports import export
from noisylabels.study.families import Family, families, noise_label
from noisylabels.study.results import (
    LOOP_COLUMNS,
    NOT_CURVES,
    Results,
    Run,
    accuracy,
    chosen_accuracy,
    dead,
    decline,
    epoch_seconds,
    gap,
    instability,
    memorized,
    read_results,
    split,
)
from noisylabels.study.store import read_rows
from noisylabels.training.history import chosen_epoch

NAN = float("nan")

# Reading ------------------------------------------------------------------------------------------


def clean_ce(study, seed=1):
    """Return the folder of a run of a study."""
    (folder,) = study.glob(f"ce-none-seed{seed}-*")
    return folder


@pytest.fixture(scope="module")
def exported(small_study, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "runs.parquet"
    assert export(read_rows(small_study), path) == 12
    return path


def test_a_folder_as_its_files_say(small_study):
    (results,) = read_results([small_study])
    assert results.losses == ["ce", "nce", "nce+mae"]  # the paper's order, not the study's
    assert results.noises == ["none", "symmetric:0.4"]
    assert results.seeds == [1, 2]
    assert (len(results.done), len(results.failed)) == (12, 0)
    assert results.data == "digits"
    assert results.title == "digits, mlp, 2 epochs, width 0.1"
    assert results.class_names == tuple("0123456789")
    folders = {
        json.loads(path.read_text())["run_id"]: path.parent for path in small_study.rglob("result.json")
    }
    for run in results.runs:
        folder = folders[run.run_id]
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        assert run.curves["test_accuracy"].tolist() == [line["test_accuracy"] for line in lines]
        assert run.curves["train_seconds"].tolist() == [line["train_seconds"] for line in lines]
        assert run.recall.tolist() == [line["recall"] for line in lines]
        assert run.config == json.loads((folder / "config.json").read_text())
        last = lines[-1]
        assert accuracy(run) == last["test_accuracy"]
        assert gap(run) == last["given_accuracy"] - last["test_accuracy"]
        assert memorized(run) == last["memorized"]
        assert (memorized(run) is None) == (run.noise == "none")
        environment = json.loads((folder / "environment.json").read_text())
        assert run.machine.startswith(environment["gpu"] or environment["processor"])
        assert f"torch {environment['packages']['torch']}" in run.software


def test_an_exported_file_gives_the_same_runs(small_study, exported):
    (one,), (two,) = read_results([small_study]), read_results([exported])
    there = {run.run_id: run for run in two.runs}
    assert there.keys() == {run.run_id for run in one.runs}
    machine = {"out", "data_root"}  # where on a machine a run was carried out, an export does not tell
    for run in one.runs:
        other = there[run.run_id]
        assert {k: v for k, v in run.config.items() if k not in machine} == {
            k: v for k, v in other.config.items() if k not in machine
        }
        assert run.curves.keys() == other.curves.keys()
        for name, values in run.curves.items():
            np.testing.assert_array_equal(values, other.curves[name])
            assert values.dtype == other.curves[name].dtype == np.float64
        np.testing.assert_array_equal(run.recall, other.recall)
        assert run.recall.shape == (2, 10)
        for name in ("status", "message", "class_names", "machine", "software"):
            assert getattr(run, name) == getattr(other, name)


def test_a_run_in_several_sources_counts_once(small_study, exported, tmp_path):
    part = clean_ce(small_study)
    shutil.copytree(part, tmp_path / "copy" / "deep" / part.name)
    (results,) = read_results([tmp_path / "copy", small_study, exported, str(small_study)])
    assert len(results.runs) == 12
    assert sorted(run.seed for run in results.cell("ce", "none")) == [1, 2]


@pytest.mark.parametrize("kind", ["failure", "diverged"])
def test_a_finished_copy_of_a_run_counts_before_a_failed_one(small_study, exported, tmp_path, kind):
    """Whichever source is named first, and whichever folder comes first by name."""
    done = clean_ce(small_study)
    failed = tmp_path / "a" / "0"
    result = json.loads((done / "result.json").read_text())
    if kind == "failure":
        failed.mkdir(parents=True)
        config = json.loads((done / "config.json").read_text())
        failure = {"run_id": result["run_id"], "message": "no memory", "trace": "", "config": config}
        (failed / "failure.json").write_text(json.dumps(failure))
    else:
        shutil.copytree(done, failed)
        gone = {"status": "failed", "message": "the loss was not finite", "final": None}
        (failed / "result.json").write_text(json.dumps(result | gone))
        (failed / "history.jsonl").write_text("")
    (alone,) = read_results([tmp_path / "a"])
    assert [run.status for run in alone.runs] == ["failed"]
    for sources in ([tmp_path / "a", exported], [exported, tmp_path / "a"]):
        (results,) = read_results(sources)
        assert (len(results.done), len(results.failed)) == (12, 0)
    shutil.copytree(done, tmp_path / "a" / "1")  # in one folder
    assert [row["status"] for row in read_rows(tmp_path / "a")] == ["done"]
    (one,) = read_results([tmp_path / "a"])
    assert [run.folder for run in one.runs] == [tmp_path / "a" / "1"]


def test_an_old_run_lacks_what_came_later(small_study, tmp_path):
    """An export of runs with and without a validation split; a setting that the run's version had not."""
    folder = shutil.copytree(clean_ce(small_study), tmp_path / "runs" / "old")
    config = json.loads((folder / "config.json").read_text())
    del config["ema"]
    (folder / "config.json").write_text(json.dumps(config | {"validation": 0.0, "from_the_future": 1}))
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"run_id": "old"}))
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for line in lines:
        del line["validation_accuracy"], line["validation_loss"]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    export([*read_rows(small_study), *read_rows(tmp_path / "runs")], tmp_path / "both.parquet")
    for sources in ([small_study, tmp_path / "runs"], [tmp_path / "both.parquet"]):
        apart = {results.apart["validation"]: results for results in read_results(sources)}
        assert apart.keys() == {0.0, 0.1}
        (run,) = apart[0.0].runs
        assert run.config["ema"] == 0.0
        assert "from_the_future" not in run.config
        assert chosen_accuracy(run) is None
        assert all(chosen_accuracy(other) is not None for other in apart[0.1].runs)


def test_the_loop_writes_its_columns_and_no_others(small_study):
    (results,) = read_results([small_study])
    for path in small_study.rglob("history.jsonl"):
        for line in path.read_text().splitlines():
            assert json.loads(line).keys() == LOOP_COLUMNS
    assert all(run.curves.keys() | set(NOT_CURVES) == LOOP_COLUMNS for run in results.runs)


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_column_of_some_runs_and_epochs_only(small_study, tmp_path, form):
    """A callback's column: in both epochs of one run, from the second on in another, in no other run."""
    source = shutil.copytree(small_study, tmp_path / "runs")
    added = {1: [0.5, 0.25], 2: [None, 3]}
    for seed, values in added.items():
        path = clean_ce(source, seed) / "history.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line, value in zip(lines, values, strict=True):
            line |= {} if value is None else {"weight_norm": value}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if form == "file":
        export(read_rows(source), tmp_path / "all.parquet")
        source = tmp_path / "all.parquet"
    (results,) = read_results([source])
    assert len(results.done) == 12
    for run in results.done:
        expected = added.get(run.seed, []) if (run.loss, run.noise) == ("ce", "none") else []
        values = run.curves.get("weight_norm", np.full(2, np.nan))
        np.testing.assert_array_equal(values, np.array(expected or [None, None], np.float64))
        assert run.last("weight_norm") == (expected[-1] if expected else None)
        assert run.last("test_accuracy") is not None


@pytest.fixture
def began_and_never(small_study, tmp_path):
    """A finished run, one that diverged in its first epoch, and one that could not begin."""
    for name, seed in (("good", 1), ("diverged", 2)):
        shutil.copytree(clean_ce(small_study, seed), tmp_path / "runs" / name)
    result = json.loads((tmp_path / "runs/diverged/result.json").read_text())
    gone = {"status": "failed", "message": "the loss was not finite in epoch 1", "final": None}
    (tmp_path / "runs/diverged/result.json").write_text(json.dumps(result | gone))
    (tmp_path / "runs/diverged/history.jsonl").write_text("")
    config = json.loads((tmp_path / "runs/good/config.json").read_text()) | {"seed": 3}
    (tmp_path / "runs" / "never").mkdir()
    failure = {"run_id": "abc", "message": "no room\nat all", "trace": "", "config": config}
    (tmp_path / "runs" / "never" / "failure.json").write_text(json.dumps(failure))
    return tmp_path / "runs"


@pytest.mark.parametrize("form", ["folder", "file"])
def test_runs_that_failed_and_that_never_began(began_and_never, tmp_path, form):
    source = began_and_never
    if form == "file":
        source = tmp_path / "all.parquet"
        export(read_rows(began_and_never), source)
    (results,) = read_results([source])
    assert [run.seed for run in results.done] == [1]
    assert {run.seed: run.message for run in results.failed} == {
        2: "the loss was not finite in epoch 1",
        3: "no room\nat all",
    }
    assert results.seeds == [1, 2, 3]
    assert results.values(accuracy, "ce", "none").keys() == {1}
    assert results.class_names == tuple("0123456789")


@pytest.mark.parametrize("form", ["folder", "file"])
def test_nothing_but_failures(began_and_never, tmp_path, form):
    shutil.rmtree(began_and_never / "good")
    source = began_and_never
    if form == "file":
        source = tmp_path / "all.parquet"
        export(read_rows(began_and_never), source)
    (results,) = read_results([source])
    assert (results.done, len(results.failed)) == ([], 2)
    assert results.summary(accuracy, "ce", "none") is None
    assert results.curve("test_accuracy", "ce", "none").shape == (0, 0)


def test_what_is_no_source(small_study, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no finished run; name a folder of runs"):
        read_results([small_study, tmp_path / "empty"])
    with pytest.raises(InputError, match=r"there is no file .*nowhere"):
        read_results([tmp_path / "nowhere"])
    (tmp_path / "text.parquet").write_text("no Parquet at all")
    with pytest.raises(InputError, match=r"text\.parquet cannot be read as Parquet"):
        read_results([tmp_path / "text.parquet"])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="is a Parquet file, but not one of `noisylabels study export`"):
        read_results([tmp_path / "other.parquet"])


def test_a_run_without_a_result_is_passed_over(small_study, tmp_path):
    for name in ("done", "begun"):
        shutil.copytree(clean_ce(small_study), tmp_path / name)
    (tmp_path / "begun" / "result.json").unlink()
    (results,) = read_results([tmp_path])
    assert len(results.runs) == 1


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", lambda d: d.pop("loss"), "config.json lacks 'loss'"),
        (
            "config.json",
            lambda d: d.update(seed="one"),
            "seed is 'one', expected a valid integer",
        ),
        (
            "config.json",
            lambda d: d.update(width=[1]),
            r"width is \[1\], expected a valid number",
        ),
        ("history.jsonl", lambda d: d.pop("recall"), "its epochs have the recall of 0 to 10 classes"),
        (
            "history.jsonl",
            lambda d: d.update(test_loss="high"),
            "0.test_loss is 'high', expected a valid",
        ),
    ],
)
def test_a_damaged_run_is_one_line(small_study, tmp_path, file, change, words):
    folder = shutil.copytree(clean_ce(small_study), tmp_path / "run")
    lines = (
        (folder / file).read_text().splitlines() if file == "history.jsonl" else [(folder / file).read_text()]
    )
    rows = [json.loads(line) for line in lines]
    change(rows[0])
    (folder / file).write_text("\n".join(map(json.dumps, rows)) + "\n")
    with pytest.raises(InputError, match=words) as caught:
        read_results([tmp_path])
    assert "\n" not in str(caught.value)


# Apart --------------------------------------------------------------------------------------------


def test_another_data_set_model_or_length_is_apart(made_run):
    """Even where no two of them share loss, noise and seed."""
    for setting, values in {
        "data": ("digits", "cifar10"),
        "model": ("mlp", "small-cnn"),
        "epochs": (4, 5),
        "width": (1.0, 0.5),
        "validation": (0.0, 0.1),
        "image_size": (None, 16),
    }.items():
        runs = [
            made_run("ce", "none", 1, **{setting: values[0]}),
            made_run("mae", "none", 2, **{setting: values[1]}),
        ]
        first, second = split(runs)
        assert ([first.apart, second.apart]) == [{setting: value} for value in values]
        assert (first.losses, second.losses) == (["ce"], ["mae"])


def test_a_setting_that_goes_with_the_noise_parts_nothing(made_run):
    runs = [
        made_run(loss, noise, seed, precision=precision)
        for loss in ("ce", "mae")
        for noise, precision in (("symmetric:0.4", "bfloat16"), ("asymmetric:0.4", "float32"))
        for seed in (1, 2)
    ]
    (results,) = split(runs)
    assert results.apart == {}
    assert results.settings["precision"] == ["bfloat16", "float32"]
    assert results.settings["lr"] == [0.05]
    assert not {"loss", "noise", "seed", "out", "device"} & results.settings.keys()


def test_a_setting_that_differs_within_a_cell_is_apart(made_run):
    runs = [made_run("ce", "none", seed, lr=lr) for lr in (0.05, 0.1) for seed in (1, 2)]
    runs.append(made_run("mae", "none", 1, lr=0.1))
    first, second = split(runs)
    assert (first.apart, second.apart) == ({"lr": 0.05}, {"lr": 0.1})
    assert (len(first.runs), len(second.runs)) == (2, 3)
    assert second.title == "digits, small-cnn, 4 epochs, lr 0.1"


def test_the_same_data_set_in_another_place_is_the_same(made_run):
    (results,) = split([made_run("ce", seed=1, data="/a/photos"), made_run("ce", seed=2, data="b/photos")])
    assert results.data == "photos"
    assert results.title == "photos, small-cnn, 4 epochs"


def test_titles_say_what_is_apart(made_run):
    runs = [made_run("ce", model="auto"), made_run("ce", model="mlp", epochs=9)]
    assert [r.title for r in split(runs)] == ["digits, the default model, 4 epochs", "digits, mlp, 9 epochs"]


# Noises -------------------------------------------------------------------------------------------


def test_families_in_their_order():
    noises = [
        "human:a/CIFAR-10_human.pt@worse",
        "asymmetric:0.4",
        "instance:0.2",
        "symmetric:0.8",
        "none",
        "symmetric:0.2",
        "symmetric:0.4@exact",
        "asymmetric:0.1",
        "longtail:0.1 | symmetric:0.4",
        "longtail:0.1 | symmetric:0.2",
        "longtail:0.1",
        "symmetric:0.2",  # twice
    ]
    clean = "none"
    expected = [
        Family("symmetric", (clean, "symmetric:0.2", "symmetric:0.8"), (0.0, 0.2, 0.8)),
        Family("symmetric (exact)", (clean, "symmetric:0.4@exact"), (0.0, 0.4)),
        Family("asymmetric", (clean, "asymmetric:0.1", "asymmetric:0.4"), (0.0, 0.1, 0.4)),
        Family("instance", (clean, "instance:0.2"), (0.0, 0.2)),
        Family(
            "longtail:0.1 | symmetric",
            (clean, "longtail:0.1 | symmetric:0.2", "longtail:0.1 | symmetric:0.4"),
            (0.0, 0.2, 0.4),
        ),
        # without a rate; a long tail's ratio is none: a larger one is milder
        Family("others", (clean, "human:a/CIFAR-10_human.pt@worse", "longtail:0.1")),
    ]
    assert families(noises) == expected
    assert families(iter(noises)) == expected
    symmetric, exact, *_, others = expected
    assert symmetric.labels == ("clean", "0.2", "0.8")
    assert (symmetric.title, exact.title) == ("Symmetric noise", "Symmetric (exact) noise")
    assert (symmetric.hardest, others.hardest) == ("symmetric:0.8", "longtail:0.1")
    assert others.labels == ("clean", "human:CIFAR-10_human.pt@worse", "longtail:0.1")
    assert others.title == "Other noises"


def test_clean_data_alone_and_none():
    assert families(["none", "none"]) == [Family("others", ("none",))]
    assert families([]) == [Family("others", ())]


def test_labels_of_noises():
    assert noise_label("none") == "clean"
    assert noise_label("symmetric:0.40") == "symmetric:0.4"
    assert noise_label("longtail:0.1 | labels:deep/er/mine.csv") == "longtail:0.1 | labels:mine.csv"
    two = ("labels:first/given.csv", "labels:second/given.csv")
    # by the name alone they would be one
    assert families(["none", *two, "labels:third/x.csv"])[0].labels == ("clean", *two, "labels:x.csv")


def test_results_name_noises_once(made_run):
    results = Results([made_run("ce", noise) for noise in ("symmetric:0.4", "asymmetric:0.2", "none")])
    assert results.noises == ["none", "symmetric:0.4", "asymmetric:0.2"]
    assert results.family("asym").key == "asymmetric"
    assert results.family("human") is None


# Measures -----------------------------------------------------------------------------------------


def test_measures_by_hand(made_run):
    test = [0.5, 0.9, 0.6, 0.8]
    run = made_run(
        "ce",
        curves={
            "test_accuracy": test,
            "given_accuracy": [0.3, 0.5, 0.7, 0.95],
            "memorized": [0.0, 0.1, 0.2, 0.25],
            "validation_accuracy": [0.4, 0.7, 0.7, 0.6],
            "train_seconds": [1.0, 2.0, 3.0, 6.0],
        },
        recall=[[1, 1, 1]] * 3 + [[0.0, 0.01, 0.011]],
    )
    assert accuracy(run) == 0.8
    assert gap(run) == pytest.approx(0.15)
    assert memorized(run) == 0.25
    assert chosen_accuracy(run) == 0.9  # the first of two that are best on validation
    assert decline(run) == pytest.approx(0.1)
    assert epoch_seconds(run) == 3.0
    assert dead(run) == 2.0  # 1 % or less
    # mean 0.7, deviations -0.2, 0.2, -0.1, 0.1: sum of squares 0.1, by 3
    assert instability(run) == pytest.approx(math.sqrt(0.1 / 3))


def test_instability_looks_at_ten_epochs(made_run):
    run = made_run("ce", epochs=12, curves={"test_accuracy": [0.0, 0.0, *[0.4, 0.6] * 5]})
    assert instability(run) == pytest.approx(math.sqrt(10 * 0.01 / 9))
    assert instability(made_run("ce", epochs=1)) is None


def test_what_was_not_measured_is_none(made_run):
    nothing = {"validation_accuracy": [NAN] * 4, "memorized": [0.1, 0.2, 0.3, NAN]}
    run = made_run("ce", curves=nothing, recall=np.zeros((0, 0)))
    assert [measure(run) for measure in (chosen_accuracy, memorized, dead)] == [None] * 3
    some = {"validation_accuracy": [NAN, 0.2, NAN, 0.1], "test_accuracy": [0.9, 0.3, 0.4, 0.5]}
    assert chosen_accuracy(made_run("ce", curves=some)) == 0.3
    assert chosen_accuracy(made_run("ce")) is None
    assert memorized(made_run("ce", "none")) is None
    assert gap(made_run("ce", curves={"given_accuracy": [NAN] * 4})) is None
    unknown = made_run("ce", recall=[[0.5, NAN, 0.0]])  # a class without test examples is not dead
    assert dead(unknown) == 1.0
    empty = made_run("ce", status="failed")
    assert [
        measure(empty) for measure in (accuracy, gap, memorized, chosen_accuracy, epoch_seconds, dead)
    ] == ([None] * 6)


def test_cells_by_seed_and_their_summary(made_run):
    runs = [
        made_run("ce", seed=seed, epochs=2, curves={"test_accuracy": [0.1, value]})
        for seed, value in ((3, 0.9), (1, 0.6), (2, 0.6))
    ]
    runs.append(made_run("ce", seed=4, status="failed"))
    results = Results(runs)
    assert list(results.values(accuracy, "ce", "symmetric:0.4").items()) == [(1, 0.6), (2, 0.6), (3, 0.9)]
    summary = results.summary(accuracy, "ce", "symmetric:0.4")
    assert (summary.n, summary.mean) == (3, pytest.approx(0.7))
    assert summary.deviation == pytest.approx(math.sqrt(0.03))  # 0.01 + 0.01 + 0.04, by 2
    # Student's t of 97.5 % with two degrees of freedom is 4.3027
    assert summary.high - summary.mean == pytest.approx(4.30265273 * math.sqrt(0.03 / 3))
    assert results.summary(accuracy, "mae", "symmetric:0.4") is None
    assert results.curve("test_accuracy", "ce", "symmetric:0.4").tolist() == [
        [0.1, 0.6],
        [0.1, 0.6],
        [0.1, 0.9],
    ]
    assert results.curve("no such", "ce", "symmetric:0.4").shape == (0, 0)


def test_curves_of_unequal_length_are_cut(made_run):
    results = Results([made_run("ce", seed=1, epochs=3), made_run("ce", seed=2, epochs=5)])
    assert results.curve("test_accuracy", "ce", "symmetric:0.4").shape == (2, 3)


def test_losses_in_the_order_of_the_paper(made_run):
    names = ["zz", "nce+mae", "2*nce", "mae", "ce"]
    assert Results([made_run(name) for name in names]).losses == ["ce", "mae", "nce+mae", "zz", "2*nce"]


def test_a_hostile_noise_is_one_line(made_run):
    with pytest.raises(InputError, match=re.escape("<script>")):
        _ = Results([made_run("ce", "<script>")]).families


def test_the_chosen_epoch_is_that_of_training():
    for values in ([0.5, 0.7, 0.7, 0.6], [0.9, 0.1], [math.nan, 0.2, 0.4], [0.3]):
        tested = [0.1 * (place + 1) for place in range(len(values))]
        rows = [
            {"validation_accuracy": None if math.isnan(v) else v, "test_accuracy": t}
            for v, t in zip(values, tested, strict=True)
        ]
        curves = {"validation_accuracy": np.array(values), "test_accuracy": np.array(tested)}
        run = Run("0", "done", "", {}, curves)
        assert chosen_accuracy(run) == chosen_epoch(rows)["test_accuracy"]
