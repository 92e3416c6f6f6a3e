"""The audit from folder to files: resuming, and errors in one line that leave no files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import noisylabels as nl
import warm_process
from noisylabels.audit.audit_folder import finished
from noisylabels.audit.audited_data import load_examples
from noisylabels.audit.cross_validation import FOLDS, LOSS, RECIPE
from noisylabels.audit.page import SHOWN
from noisylabels.audit.result import FILES, Audit
from noisylabels.audit.running import audit_labels
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.features import feature_set, joined

HOSTILE = "<img src=x onerror=alert(1)>"
QUICK = ["--model", "mlp", "--width", "0.2", "--epochs", "3", "--folds", "2", "--device", "cpu"]
MODEL = {"model": "mlp", "width": 0.2, "epochs": 3, "folds": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NOISYLABELS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def photographs(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 14) -> Path:
    """Create a folder of bright and dark images, the last of each class in the folder of the next."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
    for k, name in enumerate(classes):
        for i in range(each):
            pixels = np.clip(40 + 150 * k + rng.normal(0, 25, (12, 12)), 0, 255).astype(np.uint8)
            place = name if i < each - 1 else classes[(k + 1) % len(classes)]
            Image.fromarray(pixels).save(root / place / f"{name} {i}.png")
    return root


def refused(capsys: pytest.CaptureFixture[str], words: list[str], *expected: str) -> None:
    """Check exit code 2, one line with the expected words, and that nothing was written."""
    before = sorted(Path.cwd().rglob("*"))
    assert main(["audit", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("noisylabels: ")
    assert err.count("\n") == 1
    for word in expected:
        assert word in err, err
    after = [path for path in sorted(Path.cwd().rglob("*")) if "cache" not in path.parts]
    assert after == [path for path in before if "cache" not in path.parts]


def test_from_a_folder_to_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs(tmp_path / "photos", ("cat", HOSTILE))
    assert main(["audit", "photos/", *QUICK, "--epochs", "12"]) == 0
    out, err = capsys.readouterr()
    (folder,) = (tmp_path / "audits").iterdir()
    assert folder.name.startswith("photos-")
    assert {path.name for path in folder.iterdir()} == ({*FILES} - {"network.parquet"}) | {"settings.json"}
    assert f"noisylabels review audits/{folder.name}" in out
    assert "Of 28 labels, " in out
    assert "held out" not in err  # all of it is audited
    assert "note: loss gce: robust" in err

    found = Audit.load(folder)
    assert found.summary["data"] == str(tmp_path / "photos")
    assert found.summary["digest"] == load_examples(folder).digest
    assert len(found) == len(load_examples(folder)) == 28
    assert sorted(found.ids) == sorted(
        path.relative_to(tmp_path / "photos").as_posix() for path in (tmp_path / "photos").rglob("*.png")
    )
    assert found.paths == found.ids
    given = [found.class_names[k] for k in found.given]
    assert given == [name.split("/")[0] for name in found.ids]
    # the two that lie in the wrong folder have the lowest label quality
    moved = {f"{HOSTILE}/cat 13.png", f"cat/{HOSTILE} 13.png"}
    assert {found.ids[i] for i in found.order[:2]} == moved
    rows = pq.read_table(folder / "labels.parquet").to_pylist()
    assert rows[0]["suggested"] != rows[0]["given"]
    assert rows[0]["probability_wrong"] > 0.5
    assert found.summary["flagged"] == sum(row["flagged"] for row in rows)
    for i in found.order[:2].tolist():
        of_given, of_suggested = found.neighbors[i]
        assert {int(found.given[j]) for j in of_given} == {int(found.given[i])}
        assert {int(found.given[j]) for j in of_suggested} == {int(found.suggested[i])}

    # again: nothing is trained, and the result is printed
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["audit", "photos", *QUICK, "--epochs", "12"]) == 0
    again = capsys.readouterr()
    assert again.out == out
    assert "already holds this audit" in again.err
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps

    # the audit notices that its data have changed
    os.remove(tmp_path / "photos" / "cat" / "cat 3.png")
    with pytest.raises(InputError, match="has changed since it was audited"):
        load_examples(folder)


def test_added_noise_is_measured_against_true_labels(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", "digits", "--noise", "symmetric:0.2", "--epochs", "6", "--folds", "2", "--out", "a"]
    assert main([*words, "--model", "mlp", "--batch-size", "32", "--device", "cpu"]) == 0
    assert "measured on true labels: noise rate 20" in capsys.readouterr().out
    found = Audit.load("a")
    known = found.summary["known"]
    assert known["average_precision"] > 0.8
    assert known["precision"] > 0.7
    train, test = nl.load("digits")
    true = joined(train, test, by_rows=True).labels.numpy()
    np.testing.assert_array_equal(found.true, true)
    assert known["rate"] == pytest.approx(np.mean(found.given != true), abs=1e-6)
    np.testing.assert_array_equal(load_examples(Path("a")).labels.numpy(), found.given)
    assert "true" in json.loads(Path("a/labels.json").read_text())[0]


def test_the_training_part_alone() -> None:
    train, test = nl.load("digits")
    probs = np.eye(10)[joined(train, test, by_rows=True).labels]
    found = audit_labels("digits", part="train", probs=probs, out="a")
    assert len(found) == len(train) == len(load_examples(Path("a")))
    assert found.summary["flagged"] == 0


@pytest.mark.parametrize("suffix", ["npy", "csv", "parquet"])
def test_supplied_probabilities_are_used_and_nothing_is_trained(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa

    photographs(tmp_path / "photos")
    ids = sorted(path.relative_to("photos").as_posix() for path in Path("photos").rglob("*.png"))
    truth = np.array([float(name.split("/")[1].startswith("dog")) for name in ids])
    table = {"cat": 0.9 - 0.8 * truth, "dog": 0.1 + 0.8 * truth}
    if suffix == "npy":
        np.save("probs.npy", np.stack([table["cat"], table["dog"]], axis=1))
    else:  # rows in another order, found by their ids
        order = np.random.default_rng(0).permutation(len(ids))
        columns = {"dog": table["dog"][order], "id": [ids[i] for i in order], "cat": table["cat"][order]}
        if suffix == "csv":
            lines = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
            Path("probs.csv").write_text("\n".join(["dog,id,cat", *lines]) + "\n")
        else:
            pq.write_table(pa.table(columns), "probs.parquet")
    assert main(["audit", "photos", "--probs", f"probs.{suffix}", "--out", "a"]) == 0
    found = Audit.load("a")
    assert {found.ids[i] for i in np.flatnonzero(found.flagged)} == {"cat/dog 13.png", "dog/cat 13.png"}
    rate = found.summary["rate"]
    assert rate["estimate"] == pytest.approx(2 / 28, abs=0.03)
    assert rate["low"] <= rate["estimate"] <= rate["high"]
    assert found.summary["method"]["probs"] == "given"
    assert "cat/dog 13.png" in capsys.readouterr().out


def test_a_table_is_audited_and_its_corrected_labels_again(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    given = truth.copy()
    given[[4, 9]] = 1 - given[[4, 9]]
    values = rng.normal(size=(60, 3)).round(3)
    lines = [f"{','.join(map(str, row))},{'ab'[k]}" for row, k in zip(values, given, strict=True)]
    Path("t.csv").write_text("x,y,z,grade\n" + "\n".join(lines) + "\n")
    ids = [f"row:{i}" for i in range(60)]
    rows = [f"{name},{0.9 - 0.8 * k},{0.1 + 0.8 * k}" for name, k in zip(ids, truth, strict=True)]
    Path("p.csv").write_text("id,a,b\n" + "\n".join(rows) + "\n")
    words = ["audit", "t.csv", "--label-column", "grade", "--probs", "p.csv"]
    assert main([*words, "--out", "first"]) == 0
    found = Audit.load("first")
    assert {found.ids[i] for i in np.flatnonzero(found.flagged)} == {"row:4", "row:9"}
    assert found.summary["kind"] == "features"
    assert load_examples(Path("first")).num_classes == 2

    corrections = [f"{found.ids[i]},{found.class_names[found.suggested[i]]}" for i in found.order[:2]]
    Path("corrected.csv").write_text("id,label\n" + "\n".join(corrections) + "\n")
    assert main([*words, "--labels", "corrected.csv", "--out", "second"]) == 0
    again = Audit.load("second")
    assert not again.flagged.any()
    assert again.summary["labels"] == str(Path("corrected.csv").absolute())
    np.testing.assert_array_equal(load_examples(Path("second")).labels.numpy(), again.given)
    capsys.readouterr()
    Path("corrected.csv").write_text("id,label\nrow:4,a\n")
    assert main([*words, "--labels", "corrected.csv", "--out", "second"]) == 2
    assert "holds another audit: its labels is" in capsys.readouterr().err


def test_arrays_sets_and_labels_alone() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    X = (rng.normal(0, 0.3, (60, 4)) + truth[:, None] * 2).astype(np.float32)
    y = np.array(["no", "yes"])[truth]
    y[:3] = np.array(["yes", "no"])[truth[:3]]
    found = audit_labels(X, labels=y, **MODEL | {"epochs": 20}, batch_size=8, lr=0.1)
    assert set(found.order[:3].tolist()) == {0, 1, 2}
    assert found.class_names == ("no", "yes")
    assert found.summary["kind"] == "features"
    assert found.paths == [None] * 60

    whole = feature_set(X, torch.from_numpy((y == "yes").astype(np.int64)), ["no", "yes"], name="rows")
    again = audit_labels(whole, out="a", **MODEL | {"epochs": 20}, batch_size=8, lr=0.1)
    np.testing.assert_array_equal(again.score, found.score)
    assert again.name == "rows"
    with pytest.raises(InputError, match="were arrays"):
        load_examples(Path("a"))

    images = rng.integers(0, 256, (10, 8, 8, 3)).astype(np.uint8)
    probs = np.full((10, 2), 0.5)
    assert audit_labels(images, labels=[0, 1] * 5, probs=probs).summary["kind"] == "images"
    alone = audit_labels(labels=[0, 1] * 5, probs=probs, out="b")
    assert alone.neighbors == {}
    assert len(Audit.load("b")) == 10


def test_an_interrupted_audit_resumes_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs(tmp_path / "photos")
    asked = []

    def stop() -> bool:
        asked.append((Path("a/folds") / "fold-0.safetensors").exists())
        return asked[-1]

    with pytest.raises(Interrupted):
        audit_labels("photos", out="a", stop=stop, **MODEL)
    assert not Path("a/audit.json").exists()
    with pytest.raises(InputError, match="holds an unfinished audit"):
        Audit.load("a")
    with pytest.raises(InputError, match="its epochs is 3, this one's 4"):
        audit_labels("photos", out="a", **MODEL | {"epochs": 4})
    notes: list[str] = []
    from noisylabels.experiment import Notes

    found = audit_labels("photos", out="a", reporter=Notes(notes.append), **MODEL)
    assert any("fold 1 of 2 is already trained" in note for note in notes)
    assert "fold 2 of 2 resumes after 0 epochs and 1 steps of the next" in notes
    assert not Path("a/folds").exists()
    whole = audit_labels("photos", **MODEL)
    np.testing.assert_array_equal(found.score, whole.score)
    assert found.why == whole.why


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_command_resumes(tmp_path: Path, number: signal.Signals) -> None:
    words = ["digits", "--epochs", "40", "--folds", "2", "--model", "mlp", "--device", "cpu", "--out", "a"]
    source = str(Path(nl.__file__).parents[1])
    command = ["-m", "noisylabels", "audit", *words]
    environment = os.environ | {"PYTHONPATH": source}
    process = warm_process.WarmPopen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 240
    while not Path("a/folds/fold-0.safetensors").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=240)
    assert out == ""
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert process.returncode == 130
        (line,) = [line for line in err.splitlines() if line.startswith("noisylabels: ")]
        assert line.startswith("noisylabels: stopped in fold 2 of 2, epoch ")
        assert line.endswith("run the same command again to resume")
    done = warm_process.run(command, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "fold 1 of 2 is already trained" in done.stderr
    if number == signal.SIGINT:
        assert "fold 2 of 2 resumes after" in done.stderr
    assert {path.name for path in Path("a").iterdir()} == ({*FILES} - {"network.parquet"}) | {"settings.json"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["digitz"], ["'digitz'", "did you mean 'digits'?"]),
        (["nowhere/photos"], ["neither a file or folder nor a known data set"]),
        (["empty"], ["empty is a folder of no known format"]),
        (["single"], ["a single class, 'cat'"]),
        (["photos", "--loss", "nec"], ["'nec'", "did you mean 'nce'?"]),
        (["photos", "--model", "resnet33"], ["'resnet33'"]),
        (["photos", "--foldz", "3"], ["'--foldz'", "'--folds'"]),
        (["photos", "--folds", "1"], ["folds is 1, expected an integer of 2 or more"]),
        (["photos", "--epochs", "0"], ["epochs is 0"]),
        (["photos", "--seed", "-1"], ["seed"]),
        (["photos", "--noise", "symetric:0.2"], ["'symetric'", "'symmetric'"]),
        (["photos", "--bad-images", "ignore"], ["'ignore'"]),
        (["photos", "--part", "tset"], ["tset"]),
        (["photos", "--labels", "nothing.csv"], ["there is no file", "nothing.csv"]),
        (["photos", "--probs", "nothing.npy"], ["there is no file nothing.npy"]),
        (["photos", "--probs", "probs.txt"], ["'.txt'"]),
        (["photos", "--probs", "short.npy"], ["short.npy has 5 rows, expected 28, one per example"]),
        (["photos", "--probs", "wide.npy"], ["shape (28, 3), expected (28, 2)"]),
        (["photos", "--probs", "nan.npy"], ["nan.npy, row 3 holds NaN"]),
        (["photos", "--probs", "sum.npy"], ["sum.npy, row 0 sums to 2"]),
        (["photos", "--probs", "objects.npy"], ["objects.npy holds Python objects"]),
        (["photos", "--probs", "strange.csv"], ["has no column 'cat'", "eel, dog"]),
        (["photos", "--probs", "words.csv"], ["words.csv, line 2: the probability of 'cat' is 'much'"]),
        (["photos", "--probs", "ids.csv"], ["has no row for", "'id' holds a.png"]),
        (["photos", "--probs", "ragged.csv"], ["ragged.csv, line 3: 1 cells, but the heading has 2"]),
        (["photos", "--probs", "damaged.parquet"], ["damaged.parquet cannot be read as Parquet"]),
        (["photos", "--out", "photos"], ["photos is not empty and holds no audit"]),
        (["photos", "--out", "sum.npy"], ["sum.npy is a file, expected a folder"]),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    photographs(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    (tmp_path / "single" / "cat").mkdir(parents=True)
    Image.new("L", (9, 9)).save(tmp_path / "single" / "cat" / "1.png")
    half = np.full((28, 2), 0.5)
    np.save("short.npy", half[:5])
    np.save("wide.npy", np.full((28, 3), 1 / 3))
    np.save("sum.npy", half * 2)
    bad = half.copy()
    bad[3, 1] = np.nan
    np.save("nan.npy", bad)
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    Path("probs.txt").write_text("0.5 0.5\n")
    Path("strange.csv").write_text("eel,dog\n0.5,0.5\n")
    Path("words.csv").write_text("cat,dog\nmuch,0.5\n")
    Path("ids.csv").write_text("id,cat,dog\na.png,0.5,0.5\n")
    Path("ragged.csv").write_text("cat,dog\n0.5,0.5\n0.5\n")
    Path("damaged.parquet").write_bytes(b"PAR1")
    quick = [] if "--probs" in words else [w for w in QUICK if w not in words]
    if any(flag in words for flag in ("--model", "--epochs", "--folds")):
        quick = []
    refused(capsys, [*words, *quick], *expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"data": np.zeros((3, 2), np.float32)}, "labels are missing"),
        ({"labels": ["a", "b"]}, "got labels but no data"),
        ({"data": np.zeros((3, 2), np.float32), "labels": [0, 1]}, "got 2 labels for 3 examples"),
        ({"data": {"a": 1}, "labels": [0, 1]}, "data are a dict"),
        ({"labels": ["a", "a"], "probs": [[1.0]]}, "a single class"),
        ({"labels": [0, 1], "probs": [[0.5, 0.5]]}, "2 labels and 1 rows"),
        ({"labels": [0, 1], "probs": "much"}, "there is no file much"),
        ({"labels": [0, 1], "probs": [["x", "y"], ["x", "y"]]}, "not an array of numbers"),
        (
            {"labels": ["a", "b"], "class_names": ["a", "c"], "probs": [[1, 0], [1, 0]]},
            "unknown class 'b'; known: a, c",
        ),
        ({"data": "digits", "labels": [0, 1]}, "expected a file of corrected labels"),
        ({"data": np.zeros((2, 2), np.float32), "labels": [0, 1], "noise": "symmetric:0.1"}, "nl.corrupt"),
    ],
)
def test_a_mistake_in_a_call_is_one_line(arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        audit_labels(arguments.pop("data", None), **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_document_has_the_defaults_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "audit-files.md").read_text(encoding="utf-8")
    defaults = ", ".join(map(str, (FOLDS, *(RECIPE[name] for name in ("epochs", "batch_size", "lr")))))
    assert f"fewer with early stopping) | {defaults} |" in text
    assert f"| as in `noisylabels train` | `auto`: `{LOSS}`;" in text
    assert f"at most {SHOWN}, lowest quality first" in text


def test_numbers_as_objects_are_numbers() -> None:
    # sorted as words, 10 would precede 2, and shift the columns of probs
    K = 12
    found = audit_labels(labels=np.arange(K).astype(object), probs=0.5 * np.eye(K) + 0.5 / K)
    assert found.class_names == tuple(str(k) for k in range(K))
    assert found.flagged.sum() == 0


def test_class_names_are_part_of_the_identity() -> None:
    probs = [[0.9, 0.1], [0.1, 0.9]]
    audit_labels(labels=["cat", "dog"], probs=probs, out="found")
    with pytest.raises(InputError, match="holds another audit: its data is"):
        audit_labels(labels=["ape", "cow"], probs=probs, out="found")


def test_of_many_settings_that_differ_the_first_is_named(tmp_path: Path) -> None:
    stored = {f"setting{k}": k for k in range(50)}
    (tmp_path / "settings.json").write_text(json.dumps(stored))
    with pytest.raises(InputError, match="its setting49 is 49, this one's -49; choose"):
        finished(tmp_path, {name: -stored[name] for name in reversed(stored)})


def test_a_setting_that_was_left_out_reads_the_default(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"seed": 0}')
    with pytest.raises(InputError, match="audit: its epochs is the default, this one's 5; choose another"):
        finished(tmp_path, {"seed": 0, "epochs": 5})


def test_a_finished_audit_of_data_that_changed_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photographs(tmp_path / "photos")
    assert main(["audit", "photos", "--out", "found", *QUICK]) == 0
    assert main(["audit", "photos", "--out", "found", *QUICK]) == 0
    capsys.readouterr()
    (root / "cat" / "dog 13.png").rename(root / "dog" / "dog 13.png")
    refused(capsys, ["photos", "--out", "found", *QUICK], "has changed since it was audited", "--out")


def test_file_names_that_are_not_utf8_are_audited(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos")
    os.rename(os.fsencode(root), b"ph\xff")
    os.rename(b"ph\xff/cat/cat 0.png", b"ph\xff/cat/\xff.png")
    for _ in range(2):  # made, then found again
        found = audit_labels(os.fsdecode(b"ph\xff"), out="found", **MODEL)
        assert len(found) == 28


@pytest.mark.parametrize("size", ["14", "4"])  # after the one step, on the fold held out; by a later step
def test_a_training_that_diverges_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    photographs(tmp_path / "photos")
    words = ["photos", *QUICK, "--loss", "ce", "--lr", "1e25", "--batch-size", size]
    assert main(["audit", *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    first, line = err.splitlines()
    assert first.startswith("training mlp on 28 examples in 2 classes: 2 folds of at most 3 epochs on cpu")
    assert line.startswith("noisylabels: training diverged in epoch ")
    assert "lower lr" in line
    assert not (tmp_path / "audits").exists()
