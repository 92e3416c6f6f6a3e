"""Human annotations: files in the authors' formats, and the real ones if available."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.noise.human import HumanLabels, read_human

CLEAN = np.array([0, 1, 2, 3] * 25)


def cifar10n() -> dict[str, np.ndarray]:
    """Return a table like CIFAR-10N's, with 10, 40, 20, 21 and 22 noisy labels of 100."""
    table = {"clean_label": CLEAN}
    wrong = {
        "aggre_label": 10,
        "worse_label": 40,
        "random_label1": 20,
        "random_label2": 21,
        "random_label3": 22,
    }
    for name, count in wrong.items():
        table[name] = CLEAN.copy()
        table[name][:count] = (CLEAN[:count] + 1) % 4
    return table


def cifar100n() -> dict[str, np.ndarray]:
    fine = CLEAN.copy()
    fine[:30] = (CLEAN[:30] + 1) % 4
    return {
        "clean_label": CLEAN,
        "noisy_label": fine,
        "clean_coarse_label": CLEAN // 2,
        "noisy_coarse_label": fine // 2,
    }


def save(folder: Path, table: dict, kind: str) -> Path:
    """Write a table in one of the formats of published human annotations."""
    path = folder / {"parquet": "h.parquet", "ordered": "h_ordered.npy"}.get(kind, "h.pt")
    if kind == "parquet":
        pq.write_table(pa.table({name: values.astype(np.int8) for name, values in table.items()}), path)
    elif kind == "ordered":  # lists of NumPy numbers, as the authors' file for CIFAR-100
        write_object(path, {name: list(values) for name, values in table.items()}, protocol=3)
    elif kind == "tensors":
        torch.save({name: torch.tensor(values) for name, values in table.items()}, path)
    else:
        torch.save(table, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def write_object(path: Path, value: object, protocol: int) -> None:
    """Write the bytes of np.save, which chooses its pickle protocol by its version."""
    holder = np.empty((), dtype=object)
    holder[()] = value
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(holder, file, protocol=protocol)


def in_other_words(path: Path, old: bytes, new: bytes) -> None:
    """Replace a name in the pickle of a file by its equivalent in another NumPy version."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        assert any(old in content for content in entries.values())
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content.replace(old, new))
    else:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))


FORMS = ["zip", "legacy", "tensors", "ordered", "parquet"]


@pytest.mark.parametrize("kind", FORMS)
def test_every_form(tmp_path: Path, kind: str) -> None:
    table = cifar10n()
    path = save(tmp_path, table, kind)
    labels = read_human(str(path), "worse")
    assert list(labels.columns) == [name for name in table if name != "clean_label"]
    for name, values in labels.columns.items():
        assert values.dtype == np.int64
        assert np.array_equal(values, table[name])
    assert labels.chosen == "worse_label"
    assert np.array_equal(labels.given, table["worse_label"])
    assert labels.true is not None
    assert np.array_equal(labels.true, CLEAN)
    assert labels.digest == file_digest(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "ordered"])
def test_both_names_of_the_module_of_numpy(tmp_path: Path, kind: str) -> None:
    old, new = (b"numpy._core.multiarray", b"numpy.core.multiarray")
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        old, new = new, old
    path = save(tmp_path, cifar10n(), kind)
    in_other_words(path, old, new)
    assert np.array_equal(read_human(path, "aggre").given, cifar10n()["aggre_label"])


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i4", ">i8", ">u2"])
@pytest.mark.parametrize("kind", ["zip", "ordered"])
def test_all_integers(tmp_path: Path, dtype: str, kind: str) -> None:
    table = {name: values.astype(dtype) for name, values in cifar10n().items()}
    path = save(tmp_path, table, kind)
    assert np.array_equal(read_human(path, "worse").given, cifar10n()["worse_label"])


def test_an_ordered_file_with_arrays(tmp_path: Path) -> None:
    for protocol in (2, 3, 4):  # np.save of any version writes one of these
        path = tmp_path / "h.npy"
        write_object(path, cifar10n(), protocol)
        assert np.array_equal(read_human(path, "random3").given, cifar10n()["random_label3"])


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("aggre", "aggre_label"),
        ("Aggregate", "aggre_label"),
        ("worst", "worse_label"),
        ("worse_label", "worse_label"),
        ("random1", "random_label1"),
        ("rand2", "random_label2"),
        ("random_label3", "random_label3"),
    ],
)
def test_the_names_of_the_columns(tmp_path: Path, alias: str, name: str) -> None:
    assert read_human(save(tmp_path, cifar10n(), "parquet"), alias).chosen == name


def test_coarse_labels_have_clean_ones_of_their_own(tmp_path: Path) -> None:
    path = save(tmp_path, cifar100n(), "zip")
    fine, coarse = read_human(path, "fine"), read_human(path, "coarse")
    assert fine.true is not None
    assert coarse.true is not None
    assert fine.true.max() == 3
    assert coarse.true.max() == 1
    assert (fine.true != fine.given).mean() == 0.3
    assert np.array_equal(read_human(path, "noisy").given, fine.given)


def test_no_column_is_chosen_silently(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_human(save(tmp_path, cifar10n(), "zip"))
    assert str(error.value).endswith(
        "h.pt has 5 columns of labels, expected one; name one of: aggre (10.00 % noisy), "
        "worse (40.00 % noisy), "
        "random1 (20.00 % noisy), random2 (21.00 % noisy), random3 (22.00 % noisy)"
    )
    with pytest.raises(InputError, match=r"name one of: fine \(30.00 % noisy\), coarse \(15.00 % noisy\)$"):
        read_human(save(tmp_path, cifar100n(), "parquet"))


def test_a_single_column_needs_no_name(tmp_path: Path) -> None:
    table = {"clean_label": CLEAN, "noise_label": (CLEAN + 1) % 4}
    labels = read_human(save(tmp_path, table, "ordered"))
    assert labels.chosen == "noisy_label"
    path = save(tmp_path, {"noisy_label": CLEAN}, "parquet")
    assert read_human(path).true is None


def test_an_unknown_column(tmp_path: Path) -> None:
    path = save(tmp_path, cifar10n(), "parquet")
    with pytest.raises(
        InputError, match=r"has no column 'wrose', only: aggre \(10.*; did you mean 'worse'\?$"
    ):
        read_human(path, "wrose")
    with pytest.raises(InputError, match=r"has no column 'fine', only: aggre \(10.00 % noisy\), worse"):
        read_human(path, "fine")
    path = save(tmp_path, {"noisy_label": CLEAN}, "parquet")
    with pytest.raises(InputError, match=r"has no column 'coarse', only: fine$"):
        read_human(path, "coarse")


def test_the_order_is_checked() -> None:
    labels = HumanLabels({"worse_label": CLEAN}, CLEAN, "worse_label", "")
    labels.check_order(CLEAN)
    labels.check_order(torch.from_numpy(CLEAN))
    with pytest.raises(
        InputError, match=r"^h.npy are 100, and the data set has 99 training examples; use the data set"
    ):
        labels.check_order(CLEAN[:99], "h.npy")
    other = CLEAN.copy()
    other[:2] = 1, 0
    with pytest.raises(
        InputError, match=r"with h.npy agree with those of the data set for 98 of 100 examples"
    ):
        labels.check_order(other, "h.npy")
    HumanLabels({"worse_label": CLEAN}, None, "worse_label", "").check_order(other)


class Evil:
    """Pickles into a call with a visible side effect."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


class Eval:
    def __reduce__(self) -> tuple:
        return eval, ("1 + 1",)


@pytest.mark.parametrize("kind", ["zip", "legacy", "ordered"])
def test_nothing_is_run(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "mark"
    for evil, asked in ((Evil(mark), f"{os.mkdir.__module__}.mkdir"), (Eval(), "eval")):
        path = tmp_path / ("h.npy" if kind == "ordered" else "h.pt")
        table = {**cifar10n(), "worse_label": evil}
        if kind == "ordered":
            np.save(path, np.array(table), allow_pickle=True)
        else:
            torch.save(table, path, _use_new_zipfile_serialization=kind == "zip")
        with pytest.raises(InputError) as error:
            read_human(path, "aggre")
        message = str(error.value)
        assert "\n" not in message
        assert f"{asked}, which data does not need; nothing was run" in message
        assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))  # it would have
    assert mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        np.arange(3),
        3,
        {},
        {"worse_label": np.array([[1, 2]])},
        {"worse_label": np.array(["a"])},
        {"worse_label": "a"},
        {"worse_label": np.array([{}])},
        {"worse_label": np.array([0.5])},
        {"worse_label": np.array([-1])},
        {"worse_label": np.array([1]), "clean_label": np.array([1, 2])},
        {"labels": np.array([1])},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["zip", "ordered"])
def test_other_things(tmp_path: Path, value: object, kind: str) -> None:
    path = tmp_path / ("h.npy" if kind == "ordered" else "h.pt")
    if kind == "ordered":
        write_object(path, value, 4)
    else:
        torch.save(value, path)
    with pytest.raises(InputError) as error:
        read_human(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^there is no file .*no\.pt$"):
        read_human(tmp_path / "no.pt")
    with pytest.raises(InputError, match=r" is a folder, expected a file$"):
        read_human(tmp_path)
    (tmp_path / "h.csv").write_text("worse_label\n1\n")
    with pytest.raises(
        InputError, match=r"is not a file of human annotations, expected one of \.pt, \.pth, \.npy"
    ):
        read_human(tmp_path / "h.csv")
    np.save(tmp_path / "order.npy", np.arange(5))
    with pytest.raises(InputError, match=r"holds an array of int64 of shape \(5,\)"):
        read_human(tmp_path / "order.npy")
    for name in ("h.pt", "h.npy", "h.parquet"):
        for content in (b"", b"labels", b"\x93NUMPY\x09\x09", b"PK\x03\x04" + bytes(60)):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(
                InputError,
                match=r"(is damaged|cannot be read as a NumPy file) \([^\n]*\); download it again$",
            ):
                read_human(tmp_path / name)


@pytest.mark.parametrize("kind", FORMS)
def test_a_file_cut_short(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, cifar10n(), kind)
    whole = path.read_bytes()
    # The last tenth of a file may hold nothing that the labels need.
    for at in range(1, len(whole) * 9 // 10, max(1, len(whole) // 40)):
        path.write_bytes(whole[:at])
        with pytest.raises(InputError, match=r"^[^\n]*; download it again$"):
            read_human(path, "worse")


@pytest.mark.parametrize("at", range(10, 80))
def test_a_changed_byte_in_the_head_of_an_ordered_file(tmp_path: Path, at: int) -> None:
    path = save(tmp_path, cifar10n(), "ordered")
    whole = path.read_bytes()
    errors = []
    for byte in b"\0(x":
        changed = bytearray(whole)
        changed[at] = byte
        path.write_bytes(changed)
        try:
            read_human(path, "worse")
        except InputError as error:
            errors.append(str(error))
    assert not any("\n" in error for error in errors)


@pytest.mark.realdata
@pytest.mark.skipif("NOISYLABELS_TEST_DATA" not in os.environ, reason="NOISYLABELS_TEST_DATA is not set")
def test_the_labels_of_cifar10n() -> None:
    path = Path(os.environ["NOISYLABELS_TEST_DATA"]) / "cifar10n.parquet"
    labels = read_human(path, "worse")
    assert labels.true is not None
    assert np.bincount(labels.true).tolist() == [5000] * 10
    rates = {name: round(100 * (values != labels.true).mean(), 2) for name, values in labels.columns.items()}
    # Wei et al. 2022, table 1; they give 9.03 for the aggregate, the labels they publish have 9.01.
    assert rates == {
        "aggre_label": 9.01,
        "worse_label": 40.21,
        "random_label1": 17.23,
        "random_label2": 18.12,
        "random_label3": 17.64,
    }
    images = pq.read_table(path.parent / "cifar10-jpeg" / "train-00000-of-00001.parquet", columns=["label"])
    labels.check_order(images["label"].to_numpy())
