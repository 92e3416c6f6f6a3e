"""Errors of a user on the command line: one line, exit code 2, nothing written."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisylabels.cli import main
from noisylabels.data import cifar

TRAIN = ["train", "--epochs", "1", "--out"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NOISYLABELS_DATA", raising=False)


def photographs(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 6) -> Path:
    """Make a folder of small JPEGs, one folder per class."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
    return root


def parquet(
    path: Path, labels: list[object], label_type: pa.DataType, names: list[str] | None = None
) -> Path:
    """Make an image Parquet of one training file, in the Hugging Face layout."""
    import io
    import json

    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (9, 99, 199)).save(buffer, "PNG")
    images = [{"bytes": buffer.getvalue(), "path": f"{i}.png"} for i in range(len(labels))]
    columns = {"image": images, "label": pa.array(labels, label_type)}
    table = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.mkdir(parents=True)
    pq.write_table(table, path / "train-00000-of-00001.parquet")
    return path


def refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], *expected: str, leaves: Path | None = None
) -> str:
    """Check exit code 2, one line on standard error with the expected words, and that nothing was left."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("noisylabels: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for words in expected:
        assert words in err, err
    if leaves is not None:
        assert not leaves.exists()
    return err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--lozz", "ce"], ["--lozz", "'--loss'"]),
        (["--loss", "nec"], ["'nec'", "'nce'"]),
        (["--loss", "nce-mae"], ["'nce - mae'", "expected a sum"]),
        (["--loss", "ce(gamma=1)"], ["gamma", "ce"]),
        (["--noise", "symetric:0.4"], ["symetric", "'symmetric'"]),
        (["--noise", "symmetric:1.4"], ["1.4", "[0, 1]"]),
        (["--noise", "symmetric:nan"], ["nan"]),
        (["--noise", "asymmetric:0.4@cifar10"], ["cifar10"]),
        (["--model", "cnn7"], ["'cnn7'", "'cnn9'"]),
        (["--model", "cnn9"], ["8x8", "28x28 or more"]),
        (["--model", "timm:"], ["'timm:'", "expected timm:NAME"]),
        (["--model", "no_such_module:build"], ["no module 'no_such_module'"]),
        (["--model", "no/such/file.py:build"], ["no file no/such/file.py"]),
        (["--model", "a b:c d"], ["MODULE:FUNCTION or FILE.py:FUNCTION"]),
        (["--optimizer", "sdg"], ["'sdg'", "'sgd'"]),
        (["--epochs", "ten"], ["--epochs", "'ten'", "whole number"]),
        (["--lr", "nan"], ["lr", "nan"]),
        (["--lr", "-1"], ["lr", "-1"]),
        (["--seed", "-3"], ["seed", "-3"]),
        (["--precision", "float8"], ["'float8'", "did you mean 'float"]),
        (["--augment", "flop"], ["flop"]),
        (["--device", "cuda:77"], ["cuda:77", "cpu"]),
        (["--data", "nowhere/at/all"], ["nowhere/at/all"]),
        (["--data", "digit"], ["'digit'", "'digits'"]),
        (["--data", "cifar10"], ["cifar-10-python.tar.gz"]),
        (["--image-size", "0"], ["image_size", "0"]),
        (["--bad-images", "ignore"], ["'ignore'"]),
        (["--loss"], ["--loss"]),
        (["--width", "0"], ["width"]),
    ],
)
def test_a_wrong_flag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: list[str], expected: list[str]
) -> None:
    out = tmp_path / "run"
    refused(capsys, [*TRAIN, str(out), *flags], *expected, leaves=out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], ["'trian'", "'train'"]),
        (["train", "no-such-recipe"], ["no-such-recipe", "digits"]),
        (["train", "mnist"], ["no recipe 'mnist'", "for the data set, use --data mnist"]),
        (["train", "digits", "again"], ["again"]),
        (["predict"], ["folder of a finished run"]),
        (["predict", "no/run", "image.jpg"], ["no/run", "is not the folder of a run"]),
        (["list", "loses"], ["'loses'", "losses"]),
        (["loss", "nce+"], ["'nce+'"]),
        (["loss", "nce", "--classes", "1"], ["--classes", "1"]),
        (["loss", "nce", "--plot", "curve.gif"], [".gif", ".svg"]),
        (["noise", "symmetric"], ["symmetric", "rate"]),
        (["noise", "symmetric:0.2 | pairflap:0.2"], ["'pairflap'", "'pairflip'"]),
        (["noise", "labels:/nowhere.csv"], ["there is no file /nowhere.csv"]),
        (["noise", "symmetric:0.2", "--plot", "matrix.gif"], [".gif", ".svg"]),
        (["noise", "symmetric:0.2", "--out", "labels.csv"], ["'.csv'", ".parquet"]),
        (["noise", "openset:0.2@digits"], ["those of the set itself"]),
        (["noise", "asymmetric:0.4@fashion-mnist"], ["fashion-mnist", "Ankle boot"]),
        (["noise", "symmetric:0.2", "--out", "/dev/null/x.parquet"], ["/dev/null"]),
        (["noise", "symmetric:0.2", "--plot", "x.svg", "--out", "/tmp"], ["/tmp", "expected .parquet"]),
        (["completion", "tcsh"], ["'tcsh'", "bash"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_a_wrong_command(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: list[str],
    request: pytest.FixtureRequest,
) -> None:
    if "--plot" in arguments or arguments[0] == "noise":
        # these print their result before they try to write the file
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert all(words in err for words in expected), err
    else:
        refused(capsys, arguments, *expected)


def test_a_wrong_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('loss = "ce"\nepoch = 3\n')
    refused(capsys, ["train", str(recipe)], "'epoch'", "'epochs'", "mine.toml")
    recipe.write_text('epochs = "many"\n')
    refused(capsys, ["train", str(recipe)], "epochs", "'many'", "int")
    recipe.write_text("epochs = = 3\n")
    refused(capsys, ["train", str(recipe)], "mine.toml", "TOML")


def test_a_folder_with_one_class(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, out = photographs(tmp_path / "photos", ("cat",)), tmp_path / "run"
    refused(capsys, [*TRAIN, str(out), "--data", str(root)], "cat", leaves=out)


def test_an_empty_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    out = tmp_path / "run"
    refused(capsys, [*TRAIN, str(out), "--data", str(tmp_path / "photos")], "photos", "<class>", leaves=out)


@pytest.mark.parametrize(
    ("labels", "kind", "expected"),
    [
        ([0, 1, 1, 7] * 5, pa.int64(), ["7"]),
        ([0, 1, -1, 1] * 5, pa.int64(), ["-1"]),
        ([0, 1, None, 1] * 5, pa.int64(), ["label"]),
        ([0.0, 1.0, float("nan"), 1.0] * 5, pa.float64(), ["label"]),
    ],
)
def test_a_label_outside_the_range_or_not_a_number(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    labels: list[object],
    kind: pa.DataType,
    expected: list[str],
) -> None:
    root, out = parquet(tmp_path / "set", labels, kind, names=["cat", "dog"]), tmp_path / "run"
    refused(
        capsys, [*TRAIN, str(out), "--data", str(root)], "train-00000-of-00001.parquet", *expected, leaves=out
    )


def test_a_corrupt_parquet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, out = parquet(tmp_path / "set", [0, 1] * 10, pa.int64()), tmp_path / "run"
    file = root / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    refused(capsys, [*TRAIN, str(out), "--data", str(root)], file.name, leaves=out)


def test_a_truncated_jpeg_is_fatal_or_skipped_as_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root, out = photographs(tmp_path / "photos"), tmp_path / "run"
    broken = root / "cat" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    command = [*TRAIN, str(out), "--data", str(root), "--batch-size", "4"]
    refused(capsys, command, "cat/3.jpg", "skip", leaves=out)
    assert main([*command, "--bad-images", "skip"]) == 0
    assert "cat/3.jpg" in capsys.readouterr().err
    assert (out / "result.json").exists()


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_runs_code(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker, out = tmp_path / "cifar-10-batches-py", tmp_path / "ran", tmp_path / "run"
    folder.mkdir()
    checksums = {}
    for name in (*cifar.CIFAR10.train_files, cifar.CIFAR10.test_file):
        content = pickle.dumps({"data": _Bomb(marker), "labels": [0, 1]}, protocol=2)
        (folder / name).write_bytes(content)
        checksums[name] = hashlib.md5(content).hexdigest()
    # without its real checksum the file is not even opened
    refused(capsys, [*TRAIN, str(out), "--data", str(folder)], "data_batch_1", leaves=out)
    monkeypatch.setattr(cifar, "MD5", checksums)
    refused(capsys, [*TRAIN, str(out), "--data", str(folder)], "system", leaves=out)
    assert not marker.exists()


def test_a_folder_of_something_else_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    refused(capsys, [*TRAIN, str(tmp_path)], str(tmp_path), "--out")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_internal_error_is_reported_as_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisylabels.cli import parser

    def broken(_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(parser, "parse", broken)
    assert main(["train"]) == 70
    err = capsys.readouterr().err
    assert "internal error, not caused by your input" in err
    assert "ZeroDivisionError" in err
    with pytest.raises(ZeroDivisionError):
        main(["train", "--debug"])
