from pathlib import Path

import numpy as np
import pytest

from noisylabels.core.checks import InputError
from noisylabels.data.cache import load_cached, load_uncached
from noisylabels.data.reader import Plan, ReadResult, class_notes, held_out_note


def test_complete_classes_need_no_note():
    assert class_notes(np.array([0, 1, 1, 0]), 2, ("cat", "dog")) == []


def test_each_kind_of_gap_is_named():
    labels = np.array([0, 0, 2, 3, 0])  # train 0 0 2, test 3 0
    assert class_notes(labels, 3, ("ant", "bee", "cat", "dog")) == [
        "no image at all: class 'bee'",
        "no training image, so it cannot be learned: class 'dog'",
        "no test image, so its accuracy stays unknown: class 'cat'",
    ]


def test_the_note_on_held_out_images_gives_the_numbers():
    assert held_out_note(12, 0.25).startswith("no test part found: 12 images (0.25 of each class)")


@pytest.mark.parametrize(
    ("names", "message"), [(("cat",), "single class"), ((), "no class"), (("a", "a"), "twice")]
)
def test_class_names_are_checked_before_anything_is_decoded(names, message):
    def read():
        return ReadResult((1, 2, 2), pieces, np.zeros(0, dtype=np.int64), [], names, 0)

    def pieces():
        raise AssertionError

    plan = Plan("photos", Path("my", "photos"), {}, {}, read)
    with pytest.raises(InputError, match=rf"^my/photos: .*{message}"):
        plan.start()
    with pytest.raises(InputError, match=message):
        load_uncached(plan)
    with pytest.raises(InputError, match=message):
        load_cached(plan)
