"""Ids in files: found by every reader, also if a format keeps neither spaces nor bytes that are not UTF-8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from noisylabels.audit.probability_files import read_probs
from noisylabels.core.checks import InputError
from noisylabels.core.written_names import plain_name
from noisylabels.data.corrections import read_corrections, settled
from noisylabels.data.features import feature_set
from noisylabels.encoders.embedding_files import read_embeddings
from noisylabels.noise.label_files import read_labels

CLASSES = ("a", "b")
VALUES = [0, 1, 1]
IDS = (" cat/1.png", "cat/caf\udce9.png", "dog/\udcff ")


def labels(path: Path, ids: list[str]) -> list[int]:
    found = read_labels(path, num_classes=2, class_names=CLASSES, ids=ids)
    assert found.by_ids
    return found.given.tolist()


def labels_of_a_part(path: Path, ids: list[str]) -> list[int]:
    given = read_labels(path, num_classes=2, class_names=CLASSES, ids=ids[1:], others=ids[:1]).given
    return [VALUES[0], *given.tolist()]


def corrections(path: Path, ids: list[str]) -> list[int]:
    found = settled(read_corrections(path, CLASSES), ids)
    return [found[name] for name in ids]


def probs(path: Path, ids: list[str]) -> list[int]:
    return np.asarray(read_probs(path, CLASSES, ids).probs.values).argmax(1).tolist()


def embeddings(path: Path, ids: list[str]) -> list[int]:
    made = feature_set(np.zeros((len(ids), 1)), VALUES[: len(ids)], CLASSES, ids=ids)
    return read_embeddings(path, [made], lambda line: None)[0][:, 1].int().tolist()


READERS = (labels, labels_of_a_part, corrections, probs, embeddings)


def written(folder: Path, suffix: str, ids: list[str]) -> Path:
    """Return a file of the ids in another order, with labels, probabilities and features."""
    b = np.array(VALUES[: len(ids)])
    table = pd.DataFrame({"id": ids, "label": np.array(CLASSES)[b], "a": 1.0 - b, "b": b * 1.0})[::-1]
    path = folder / f"file{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_that_files_write_otherwise_are_found(tmp_path: Path, read, suffix: str) -> None:
    file = written(tmp_path, suffix, [plain_name(name) for name in IDS])
    assert read(file, list(IDS)) == VALUES
    # as they are, two ids may differ in spaces alone
    twins = ["a", " a", "a "]
    assert read(written(tmp_path, ".parquet", twins), twins) == VALUES
    stripped = written(tmp_path, suffix, ["a", "c"])
    with pytest.raises(InputError):  # could be either of two
        read(stripped, ["a ", " a", "c"])
