from __future__ import annotations

import io
import os

import numpy as np
import pytest

from noisylabels.data.names import Names

TEXTS = ["cat/1.png", "", "größe/ß.png", os.fsdecode(b"\xff.png"), "../up.png", "line\nbreak\0.png"] * 1500


def test_it_is_a_sequence_of_the_strings():
    names = Names.of(iter(TEXTS))
    assert list(names) == TEXTS == names
    assert (names[2], names[-1], len(names)) == (TEXTS[2], TEXTS[-1], 9000)
    assert list(names[10:5000:7]) == TEXTS[10:5000:7]
    assert names != TEXTS[:-1]
    assert names[:0] == [] == Names.of([])
    with pytest.raises(IndexError):
        names[9000]


def test_parts_share_the_bytes():
    names = Names.of(TEXTS)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    assert list(names.take(order)) == [TEXTS[i] for i in order]
    assert list(names.without_prefix("../")) == [text.removeprefix("../") for text in TEXTS]
    assert list(names[:2].after(Names.of(["x"]))) == ["x", *TEXTS[:2]]
    assert names.take(order).digest() == Names.of([TEXTS[i] for i in order]).digest() != names.digest()


@pytest.mark.parametrize("texts", [TEXTS, [], ["a"]])
def test_a_file_gives_them_back(texts):
    order = np.arange(len(texts))[::-1]
    file = io.BytesIO()
    Names.of(texts).take(order).save(file)
    whole = file.getvalue()
    assert list(Names.load(io.BytesIO(whole))) == texts[::-1]
    for damaged in (whole[:-1], whole[:200], b"", b"garbage"):
        with pytest.raises((ValueError, EOFError)):
            Names.load(io.BytesIO(damaged))
