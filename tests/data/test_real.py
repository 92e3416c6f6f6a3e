"""All of CIFAR-10 as JPEG in the hub's layout, where NOISYLABELS_TEST_DATA names a folder that has it."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from noisylabels.data import decode
from noisylabels.data.catalog import load
from noisylabels.data.cifar import CLASS_NAMES

FOLDER = Path(os.environ.get("NOISYLABELS_TEST_DATA", "")) / "cifar10-jpeg"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.slow,
    pytest.mark.skipif("NOISYLABELS_TEST_DATA" not in os.environ, reason="NOISYLABELS_TEST_DATA is not set"),
]


def test_cifar10_as_jpeg(monkeypatch):
    train, test = load(FOLDER)
    assert (len(train), len(test)) == (50_000, 10_000)
    assert train.class_names == test.class_names == CLASS_NAMES
    assert train.labels.bincount().tolist() == [5000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    assert train.images.shape[1:] == (3, 32, 32)
    assert train.notes == ()
    for part, name in ((train, "train"), (test, "test")):
        rows = pq.read_table(FOLDER / f"{name}-00000-of-00001.parquet")
        for i in (0, 1, 255, 256, 4999, len(part) - 1):
            cell = rows["img"][i]["bytes"].as_py()
            expected = np.array(Image.open(io.BytesIO(cell))).transpose(2, 0, 1)
            assert np.array_equal(part.images[i].numpy(), expected)
            assert int(part.labels[i]) == rows["label"][i].as_py()
    mean, std = train.mean_std()
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.002)  # of the original, as widely published
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.005)

    monkeypatch.setattr(decode, "read_pixels", None)
    again, _ = load(FOLDER)
    assert again.digest == train.digest
    assert torch.equal(again.images[::1000], train.images[::1000])
