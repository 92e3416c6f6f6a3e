import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from noisylabels.data.builtin import digits
from noisylabels.data.reader import Options


def joined():
    train, test = digits(Options())
    order = np.argsort([int(name.removeprefix("digits:")) for name in [*train.ids, *test.ids]])
    return (
        torch.cat([train.images, test.images]).numpy()[order],
        torch.cat([train.labels, test.labels]).numpy()[order],
    )


def test_digits_are_scikit_learn_s():
    table = load_digits()
    images, labels = joined()
    assert images.shape == (1797, 1, 8, 8)
    assert np.array_equal(labels, table.target)
    assert np.array_equal(np.round(images[:, 0] * (16 / 255)), table.images)  # no value is lost
    assert np.abs(images[:, 0] / 255 - table.images / 16).max() <= 0.5 / 255
    assert {0, 255} <= set(images.flatten().tolist())


def test_the_parts_are_stratified_and_fixed():
    train, test = digits(Options())
    assert (len(train), len(test)) == (1438, 359)
    share = torch.bincount(test.labels) / torch.bincount(torch.cat([train.labels, test.labels]))
    assert ((share - 0.2).abs() < 0.005).all()
    assert test.ids[:3] == ["digits:4", "digits:6", "digits:12"]
    assert digits(Options(test_fraction=0.5))[1].digest == test.digest
    assert train.class_names == tuple("0123456789")
    assert train.notes == ()


def test_digits_come_in_any_size():
    train, test = digits(Options(image_size=32))
    assert train.images.shape[1:] == test.images.shape[1:] == (1, 32, 32)


@pytest.mark.parametrize("size", [None, 8, 16])
def test_a_set_that_is_changed_leaves_the_next_as_it_was(size):
    """The pixels are read once per process."""
    for _ in range(2):
        for part in digits(Options(image_size=size)):
            assert part.images.max() > 200
            assert len(part.labels.unique()) == 10
            part.images.zero_()
            part.labels.zero_()
            part.ids.clear()
