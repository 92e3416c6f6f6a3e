"""NoisyLabels: properties, and its file, intact and damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.core.checks import InputError
from noisylabels.noise import NoisyLabels, corrupt, symmetric


def some() -> NoisyLabels:
    return corrupt(np.arange(300) % 3, "asymmetric:0.4", num_classes=4, seed=2, pairs={0: 3, 1: 0})


def test_properties_by_hand() -> None:
    labels = NoisyLabels([0, 1, 1, 3, 0], [0, 0, 1, 1, 3], "annotators", 0, 5)
    assert labels.flipped.tolist() == [False, True, False, True, True]
    assert labels.rate == 0.6
    assert labels.counts.tolist() == [
        [1, 1, 0, 0, 0],
        [0, 1, 0, 1, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert labels.realized.tolist() == [
        [0.5, 0.5, 0, 0, 0],
        [0, 0.5, 0, 0.5, 0],
        [0, 0, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
    ]
    assert labels.nominal is None
    assert len(labels) == 5
    assert repr(labels) == "NoisyLabels('annotators', seed=0: 3 of 5 labels noisy (60.00 %), 5 classes)"


def test_nominal_is_the_matrix_of_the_spec() -> None:
    noisy = corrupt([0, 1, 2], "symmetric:0.4@exact")
    assert noisy.nominal is not None
    assert np.array_equal(noisy.nominal, symmetric(3, 0.4))
    clean = corrupt([0, 1, 2], "none").nominal
    assert clean is not None
    assert clean.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("wide", [2**53 + 1, 2**63 + 1, 2**70])
@pytest.mark.parametrize("other", [-1, 3])
def test_labels_of_64_bits_and_more_are_saved_with_their_digits(
    wide: int, other: int, tmp_path: Path
) -> None:
    labels = corrupt([wide, other] * 10, "symmetric:0.3")
    assert set(labels.given.tolist()) == {wide, other}
    labels.save(tmp_path / "l.parquet")
    again = NoisyLabels.load(tmp_path / "l.parquet")
    assert (again.given.tolist(), again.digest) == (labels.given.tolist(), labels.digest)


def test_the_digest_is_of_little_endian_bytes_and_a_json_record() -> None:
    labels = NoisyLabels([1, 0], [0, 0], "annotators", 7, 2)
    by_hand = b'["annotators", 7, 2, [], 2]' + bytes([1, *[0] * 7, *[0] * 8]) + bytes(16)
    assert labels.digest == hashlib.sha256(by_hand).hexdigest()


def test_the_digest_depends_on_every_field() -> None:
    base = {"given": [0, 1], "true": [0, 0], "spec": "annotators", "seed": 0, "num_classes": 2}
    variants = [
        base,
        {**base, "given": [1, 0]},
        {**base, "true": [0, 1]},
        {**base, "spec": "others"},
        {**base, "seed": 1},
        {**base, "num_classes": 3},
        {**base, "pairs": ((0, 1),)},
    ]
    assert len({NoisyLabels(**variant).digest for variant in variants}) == len(variants)


@pytest.mark.parametrize(
    ("given", "true", "message"),
    [
        ([0, 1], [0], "there are 2 given and 1 true labels, expected equally many"),
        ([0, 2], [0, 1], "given labels[1] is 2, expected an integer from 0 to 1"),
        ([0, 1], [-1, 1], "true labels[0] is -1, expected an integer from 0 to 1"),
    ],
)
def test_labels_that_do_not_fit(given, true, message: str) -> None:
    with pytest.raises(InputError) as error:
        NoisyLabels(given, true, "annotators", 0, 2)
    assert str(error.value) == message


def test_save_and_load(tmp_path: Path) -> None:
    labels = some()
    path = tmp_path / "run" / "labels.parquet"
    labels.save(path)
    labels.save(str(path))  # over what is there
    back = NoisyLabels.load(str(path))
    assert np.array_equal(back.given, labels.given)
    assert np.array_equal(back.true, labels.true)
    assert back.given.dtype == back.true.dtype == np.int64
    assert (back.spec, back.seed, back.num_classes, back.pairs) == (
        labels.spec,
        labels.seed,
        labels.num_classes,
        labels.pairs,
    )
    assert back.digest == labels.digest
    assert np.array_equal(back.nominal, labels.nominal)
    assert [file.name for file in path.parent.iterdir()] == ["labels.parquet"]


def test_the_file_is_plain_parquet(tmp_path: Path) -> None:
    labels = some()
    labels.save(tmp_path / "labels.parquet")
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table.schema.names == ["given", "true", "flipped"]
    assert table["flipped"].to_pylist() == labels.flipped.tolist()
    record = json.loads(table.schema.metadata[b"noisylabels"])
    assert record["spec"] == "asymmetric:0.4@0to3,1to0"
    assert record["rate"] == labels.rate


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^there is no file "):
        NoisyLabels.load(tmp_path / "no.parquet")
    with pytest.raises(InputError, match=r" is a folder, expected a file$"):
        NoisyLabels.load(tmp_path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    text = tmp_path / "labels.csv"
    text.write_text("given,true\n0,1\n")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        NoisyLabels.load(text)
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"given": [0], "true": [0]}), foreign)
    with pytest.raises(InputError, match="is a Parquet file without noisy labels, expected one that"):
        NoisyLabels.load(foreign)


def rewrite(path: Path, columns: dict | None = None, **changes: object) -> None:
    """Change columns or entries of the record of a saved file; None removes an entry."""
    table = pq.read_table(path)
    record = {**json.loads(table.schema.metadata[b"noisylabels"]), **changes}
    record = {key: value for key, value in record.items() if value is not None}
    table = pa.table({**{name: table[name] for name in table.column_names}, **(columns or {})})
    pq.write_table(table.replace_schema_metadata({b"noisylabels": json.dumps(record)}), path)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3},
        {"seed": -1},
        {"seed": "two"},
        {"spec": "symmetric:0.4"},
        {"spec": None},
        {"num_classes": 3},
        {"num_classes": "four"},
        {"pairs": [[0, 1]]},
        {"pairs": [0]},
        {"pairs": 7},
        {"digest": None},
        {"digest": "00"},
        {"columns": {"given": [0] * 300}},
        {"columns": {"given": [0.5] * 300}},
        {"columns": {"given": ["cat"] * 300}},
        {"columns": {"true": [None] * 300}},
        {"columns": {"true": [[0]] * 300}},
    ],
    ids=str,
)
def test_a_file_that_was_changed(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "labels.parquet"
    some().save(path)
    rewrite(path, **change)
    with pytest.raises(InputError, match=r"labels\.parquet[^\n]*; restore it or create it again$"):
        NoisyLabels.load(path)


def test_a_file_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    some().save(path)
    rewrite(path, format=3)
    with pytest.raises(
        InputError, match=r"has noisy labels of format 3, expected 1 or 2; create it again with this version$"
    ):
        NoisyLabels.load(path)


def test_a_file_cut_short_or_with_a_wrong_byte_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    labels = some()
    labels.save(path)
    whole = path.read_bytes()
    refused, messages = 0, set()
    for at in range(0, len(whole), 7):
        wrong = bytearray(whole)
        wrong[at] ^= 0x41
        for content in (whole[:at], bytes(wrong)):
            path.write_bytes(content)
            try:
                # a byte that nothing depends on, such as a statistic, may differ
                assert NoisyLabels.load(path).digest == labels.digest
            except InputError as error:
                refused += 1
                messages.add(str(error))
    assert refused > len(whole) // 7
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("name", ["labels.csv", "labels.npy", "labels"])
def test_labels_are_saved_as_parquet_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"file of labels .* ends in .*, expected \.parquet"):
        some().save(tmp_path / name)
    assert not list(tmp_path.iterdir())
