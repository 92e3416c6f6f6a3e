"""Published numbers: the paper's by hand, the filters, and what a file with a fault is told."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import noisylabels
from noisylabels.core.checks import InputError
from noisylabels.paper.published import Published, Source, published, read_rows, read_sources
from noisylabels.paper.published.rows import COLUMNS, FOLDER, NOISES, SOURCE_COLUMNS


def test_there_are_as_many_numbers_as_were_published():
    assert len(published(collection="paper")) == 12 * 5 + 12 * 4
    assert len(published(collection="literature")) == 839
    assert len(published(collection="methods")) == 312
    assert len(published()) == 1259
    assert len(published(collection="literature", secondary=True)) == 74
    assert {row.noise_type for row in published()} == set(NOISES)


# read off the paper's tables by eye
BY_HAND = {
    ("clean", 0.0, "CE"): 91.80,
    ("clean", 0.0, "NFL+MAE"): 65.68,
    ("symmetric", 0.4, "NFL+MAE"): 86.41,
    ("symmetric", 0.6, "NMAE"): 42.75,
    ("symmetric", 0.6, "NRCE"): 54.27,
    ("symmetric", 0.8, "NCE+MAE"): 49.30,
    ("symmetric", 0.8, "RCE"): 25.85,
    ("asymmetric", 0.1, "FL"): 75.86,
    ("asymmetric", 0.2, "NFL"): 81.06,
    ("asymmetric", 0.3, "RCE"): 45.41,
    ("asymmetric", 0.4, "NCE+RCE"): 76.17,
    ("asymmetric", 0.4, "NFL+RCE"): 50.33,
}


def test_the_numbers_of_the_paper():
    for (noise, rate, method), mean in BY_HAND.items():
        (row,) = published(collection="paper", noise_type=noise, rate=rate, method=method)
        assert row.mean == mean
        assert row.deviation is row.runs is None
        assert (row.dataset, row.model, row.epochs) == ("CIFAR-10", "8-layer CNN", 120)


def test_every_loss_of_the_paper_under_every_noise():
    cells = Counter((row.noise_type, row.rate) for row in published(collection="paper"))
    assert cells == {
        ("clean", 0.0): 12,
        **{("symmetric", rate): 12 for rate in (0.2, 0.4, 0.6, 0.8)},
        **{("asymmetric", rate): 12 for rate in (0.1, 0.2, 0.3, 0.4)},
    }


def test_mixed_precision_is_where_the_paper_says():
    rows = published(collection="paper")
    single = [row for row in rows if row.stated["precision"] == "float32"]
    assert {(row.method, row.rate) for row in single if row.noise_type != "asymmetric"} == {("NCE+RCE", 0.8)}
    assert sum(row.noise_type == "asymmetric" for row in single) == 48


def test_filters_go_together():
    rows = published(
        dataset="CIFAR-10", source="Wang 2024, Table 2", method="NCE+RCE", noise_type="symmetric"
    )
    assert [(row.rate, row.mean, row.deviation, row.runs) for row in rows] == [
        (0.2, 88.41, 0.24, 3),
        (0.4, 85.13, 0.56, 3),
        (0.6, 79.20, 0.06, 3),
        (0.8, 55.28, 1.26, 3),
    ]
    assert {row.model for row in published(model="LeNet-5")} == {"LeNet-5"}
    assert published(dataset="mnist", noise_type="asymmetric") == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "cifar10"}, "unknown dataset 'cifar10'; did you mean 'cifar-10"),
        ({"method": "NCE+RCF"}, r"did you mean 'n.e\+rce'"),
        ({"noise_type": "symetric"}, "did you mean 'symmetric'"),
        ({"source": "Wang 2024, Table 9"}, "did you mean 'wang 2024, table"),
        ({"rate": 40}, "rate is 40, expected a number in"),
    ],
)
def test_a_filter_that_nothing_can_pass_is_an_error(given, message):
    with pytest.raises(InputError, match=message):
        published(**given)


def test_settings_are_read_from_what_a_source_says():
    (row,) = published(source="Wang 2024, Table 2", dataset="CIFAR-10", method="CE", noise_type="clean")
    assert row.stated == {
        "lr": "0.01",
        "momentum": "0.9",
        "weight_decay": "0.0001",
        "batch_size": "128",
        "clip": "5",
        "optimizer": "sgd",
        "schedule": "cosine",
        "augment": "crop:4+flip",
    }
    assert published(source="Ma 2020, Table 2")[0].stated == {}


def test_it_is_read_when_it_is_asked_for():
    code = (
        "import sys, noisylabels.paper.published as p; from noisylabels.paper.published import rows; "
        "print(rows._shipped.cache_info().currsize, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    path = str(Path(noisylabels.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert done.stdout == "0 False False\n"


# Files with a fault

GOOD = "CIFAR-10,symmetric,0.4,CE,58.1,0.2,8-layer CNN,120,last epoch,,somewhere,False"


def write(path: Path, *lines: str, head: str = ",".join(COLUMNS)) -> Path:
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    return path


SOURCES = {"somewhere": Source("here", "somewhere")}


def rows_of(path: Path) -> tuple[Published, ...]:
    return read_rows(path, SOURCES, "literature")


def test_a_row_is_read(tmp_path):
    (row,) = rows_of(write(tmp_path / "a.csv", GOOD))
    assert (row.mean, row.deviation, row.rate, row.epochs, row.secondary) == (58.1, 0.2, 0.4, 120, False)
    assert row.source.key == "here"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("58.1", "581", r"a.csv, line 3: mean is 581.0, expected a number in \[0, 100\]"),
        ("58.1", "", "line 3: mean is '', expected a number"),
        ("58.1", "nan", "line 3: mean is nan"),
        (",0.2,", ",-1,", "line 3: std is -1.0"),
        ("0.4", "40", r"line 3: rate is 40.0, expected a number in \[0, 1\]"),
        ("0.4", "", "the rate of symmetric is '', expected a number in"),
        ("symmetric,0.4", "clean,0.4", "the rate of clean is '0.4', expected 0"),
        ("symmetric,0.4", "worst,0.4", "the rate of worst is '0.4', expected none"),
        ("symmetric", "symetric", "did you mean 'symmetric'"),
        ("120", "12.5", "epochs is '12.5', expected an integer"),
        ("CE,", ",", "method is empty"),
        ("somewhere", "elsewhere", "unknown source 'elsewhere'"),
        ("False", "no", "unknown value of secondary 'no'"),
        (",False", "", "line 3: 11 cells, expected 12"),
        ("CE", "CE", "line 3: CE of here is repeated; see line 2"),
        ("58.1", "60", "line 3: CE of here was 58.1, now 60; see line 2"),
    ],
)
def test_a_row_with_a_fault_is_refused(tmp_path, old, new, message):
    first = GOOD if old in ("CE", "58.1") and new in ("CE", "60") else GOOD.replace("CE", "GCE")
    with pytest.raises(InputError, match=message):
        rows_of(write(tmp_path / "a.csv", first, GOOD.replace(old, new, 1)))


def test_the_best_and_the_last_epoch_of_a_run_are_two_numbers(tmp_path):
    best = GOOD.replace("last epoch", "best epoch").replace("58.1", "60.2")
    assert [row.epoch for row in rows_of(write(tmp_path / "a.csv", GOOD, best))] == ["last", "best"]


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.csv has the columns a, b; expected dataset, noise_type"):
        rows_of(write(tmp_path / "a.csv", GOOD, head="a,b"))


def test_sources_are_checked(tmp_path):
    head = ",".join(SOURCE_COLUMNS)
    assert len(read_sources(FOLDER / "sources.csv")) == 29
    with pytest.raises(InputError, match="line 3: the source 'a' is repeated"):
        read_sources(write(tmp_path / "s.csv", "a,text,,,,,", "a,other,,,,,", head=head))
    with pytest.raises(InputError, match="needs a key and a text"):
        read_sources(write(tmp_path / "s.csv", ",text,,,,,", head=head))


def test_every_source_is_used():
    assert {row.source.text for row in published()} == set(read_sources(FOLDER / "sources.csv"))


def test_the_files_are_part_of_the_package():
    """hatchling packs every file of a package that git does not ignore; a build is checked by hand."""
    root = Path(noisylabels.__file__).parent
    assert FOLDER.is_relative_to(root)
    for name, lines in {"paper": 109, "literature": 840, "methods": 313, "sources": 30}.items():
        with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            assert len(list(csv.reader(file))) == lines
