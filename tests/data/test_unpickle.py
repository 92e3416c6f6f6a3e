import builtins
import os
import pickle
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from noisylabels.core.checks import InputError
from noisylabels.data.unpickle import read_table


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@settings(max_examples=50, deadline=None)
@given(
    array=arrays.arrays(
        st.sampled_from(["u1", "<i4", ">i8", "<f4", "?", "f2"]), arrays.array_shapes(min_dims=0, min_side=0)
    ),
    protocol=st.integers(3, 4),
    by_columns=st.booleans(),
)
def test_arrays_come_out_as_they_went_in(array, protocol, by_columns):
    array = np.asarray(array, order="F" if by_columns else "C")
    found = read_table(pickle.dumps({"data": array}, protocol), "a file")["data"]
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_plain_values_come_out_as_they_went_in():
    table = {"labels": [1, 2], b"name": b"x", "more": {"pair": (1.5, None, True), "text": "grün"}}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        if protocol >= 3:  # before, bytes are written as a call
            assert read_table(pickle.dumps(table, protocol), "a file") == table


def test_strings_of_python_2_are_bytes():
    assert read_table(b"\x80\x02}U\x06labels]K\x03as.", "a file") == {b"labels": [3]}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "asked"),
    [
        (os.system, r"(posix|nt)\.system"),
        (builtins.eval, r"(builtins|__builtin__)\.eval"),
        (builtins.exec, r"(builtins|__builtin__)\.exec"),
        (subprocess.getoutput, r"(subprocess|commands)\.getoutput"),
    ],
)
def test_code_is_named_and_not_run(function, asked, protocol, tmp_path):
    trace = tmp_path / "trace"
    code = f"open({str(trace)!r}, 'w').close()"
    command = code if function in (builtins.eval, builtins.exec) else f"touch {trace}"
    content = pickle.dumps({"data": Calls(function, command)}, protocol)
    with pytest.raises(
        InputError, match=f"^a file asks for {asked}, which data have no need of; nothing was run"
    ):
        read_table(content, "a file")
    assert not trace.exists()
    pickle.loads(content)  # the attack is real: Python's own reader falls for it
    assert trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.",
        b"cnumpy\nload\n(S'x.npy'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"c_codecs\nencode\n.",
    ],
)
def test_names_beside_the_four_are_refused(content):
    with pytest.raises(InputError, match="asks for"):
        read_table(content, "a file")


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2020-01-01"], dtype="M8[D]"),
    ],
)
def test_only_plain_numbers_are_admitted(array):
    with pytest.raises(InputError, match="asks for an array"):
        read_table(pickle.dumps({"data": array}), "a file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps({"data": np.arange(9)})[:-20],
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.arange(9, dtype="u1")}).replace(b"K\x09\x85", b"K\x63\x85"),  # 99 of 9 bytes
        b"\x80\x04P1\n.",
    ],
)
def test_damage_is_one_clear_line(content):
    with pytest.raises(InputError, match=r"^a file (is damaged|holds a list)") as caught:
        read_table(content, "a file")
    assert "\n" not in str(caught.value)
