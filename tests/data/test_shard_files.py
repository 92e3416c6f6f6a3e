"""Patterns of shards and the splits that names of shards mean."""

from __future__ import annotations

import subprocess

import pytest

from noisylabels.core.checks import InputError
from noisylabels.data.shard_files import expand, is_pattern, shards_of


@pytest.mark.parametrize(
    "pattern",
    ["a-{000..012}.tar", "a-{0..12}.tar", "{train,val}-{08..10}.tar", "x/{a,b,c}/s.tar", "a-{7..7}.tar"],
)
def test_patterns_expand_as_in_a_shell(pattern):
    shell = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)
    assert expand(pattern) == shell.stdout.split()


@pytest.mark.parametrize("pattern", ["a-{9..1}.tar", "a-{0..99999999}.tar", "{0..999}{0..999}{0..9}.tar"])
def test_ranges_that_descend_or_name_too_many_are_refused(pattern):
    with pytest.raises(InputError, match=r"expected one that ascends|more than 1,000,000 shards"):
        expand(pattern)


def test_only_names_with_braces_that_end_in_tar_are_patterns():
    assert [is_pattern(name) for name in ("a{0..3}.tar", "a.tar", "a{x}.tar", "{a,b}.png")] == [
        True,
        *[False] * 3,
    ]


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["train-0.tar", "val-0.tar"], 1, 1),
        (["imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar"], 1, 1),
        (["a.tar", "b.tar"], 2, 0),
        (["train.tar", "val.tar", "test.tar"], 1, 1),
    ],
)
def test_the_split_is_a_word_of_the_name(tmp_path, names, train, test):
    for name in names:
        (tmp_path / name).touch()
    found = shards_of(tmp_path)
    assert (len(found["train"]), len(found.get("test", []))) == (train, test)
    if len(names) == 3:
        assert found["test"][0].name == "test.tar"


def test_shards_of_one_split_are_all_there_is_and_those_of_two_need_training(tmp_path):
    (tmp_path / "test-0.tar").touch()
    assert list(shards_of(tmp_path)) == list(shards_of(tmp_path / "test-0.tar")) == ["train"]
    (tmp_path / "val-0.tar").touch()
    with pytest.raises(InputError, match="shards for test and val, but none for training"):
        shards_of(tmp_path)
