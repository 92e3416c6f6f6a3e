import builtins
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from noisylabels.core.checks import InputError
from noisylabels.core.unpickle import read_saved, read_table


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
        InputError, match=f"^a file asks for {asked}, which data does not need; nothing was run"
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
        b"}r\xff\xff\xff\x7f.",  # an object with the number 2,147,483,647
        b"}p2147483647\n.",
    ],
)
def test_damage_is_one_clear_line(content):
    with pytest.raises(InputError, match=r"^a file (is damaged|holds a list)") as caught:
        read_table(content, "a file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", [b"numpy.core.multiarray\n_reconstruct", b"numpy\nndarray", b"numpy\ndtype"])
def test_what_is_given_cannot_be_written_to(name, wrapped):
    """A pickle may set attributes of what it names; a plain function would keep them after the file."""
    content = b"c" + name + b"\n(N}X\x0c\x00\x00\x00__defaults__(I1\ntstb."
    with pytest.raises(InputError, match="asks for a change of its reader"):
        read_table(content, "a file", wrapped=wrapped)


def in_array(value):
    holder = np.empty((), dtype=object)
    holder[()] = value
    return holder


@pytest.mark.parametrize("protocol", [2, 3, 4])  # np.save of any version writes one of these
def test_a_table_in_an_array(protocol):
    table = {"labels": list(np.arange(3)), "more": np.arange(4.0), "half": np.float32(0.5), "name": b"\xff"}
    found = read_table(pickle.dumps(in_array(table), protocol), "a file", wrapped=True)
    assert np.array_equal(found.pop("more"), np.arange(4.0))
    assert found == {"labels": [0, 1, 2], "half": 0.5, "name": b"\xff"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": np.array([{}])}, "asks for an array of objects"),
        ({"a": in_array({})}, "asks for an array of objects"),
        ({"a": np.array(["text"])}, "asks for an array of the type 'U4'"),
        ({"a": np.str_("text")}, "asks for an array of the type 'U4'"),
        ([1], "holds a list, expected a table"),
        (np.arange(2), "holds a ndarray, expected a table"),
    ],
    ids=str,
)
def test_other_things_in_an_array(value, message):
    content = pickle.dumps(value if isinstance(value, np.ndarray) else in_array(value), 4)
    with pytest.raises(InputError, match=f"^a file ({message})"):
        read_table(content, "a file", wrapped=True)


def test_a_table_in_an_array_only_where_it_is_expected():
    with pytest.raises(InputError, match="asks for an array of the type 'O8'"):
        read_table(pickle.dumps(in_array({}), 4), "a file")
    with pytest.raises(InputError, match=r"asks for numpy\._?core\.multiarray\.scalar"):
        read_table(pickle.dumps({"a": np.int64(3)}, 4), "a file")


@pytest.mark.parametrize("legacy", [False, True])
def test_what_torch_saves(tmp_path, legacy):
    table = {"array": np.arange(6, dtype=">i4").reshape(2, 3), "tensor": torch.arange(3), "list": [1, 2]}
    path = tmp_path / "a.pt"
    torch.save(table, path, _use_new_zipfile_serialization=not legacy)
    found = read_saved(path)
    assert np.array_equal(found["array"], table["array"])
    assert found["array"].dtype == ">i4"
    assert torch.equal(found["tensor"], table["tensor"])
    assert found["list"] == [1, 2]
    for value, message in [
        ({"a": np.array(["text"])}, "asks for an array of the type 'U4'"),
        ({"a": np.array([{}])}, "asks for an array of the type 'O8'"),
        ({"a": Calls(os.system, "true")}, r"asks for (posix|nt)\.system"),
        ([1], "holds a list, expected a table"),
    ]:
        torch.save(value, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(InputError, match=message) as caught:
            read_saved(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_of_numpy_sees_what_torch_saved(tmp_path, legacy, monkeypatch):
    """A dtype may be told in a pickle that its numbers are pointers; NumPy would believe it."""
    kind = np.dtype("i8", copy=True)
    state = (4, "<", None, None, None, -1, -1, 1)  # the last: its items are counted references

    class Dtype:
        def __reduce__(self):
            return np.dtype, ("i8", False, True), state

    class Array:
        def __reduce__(self):
            reconstruct, arguments, *_ = np.arange(1).__reduce__()
            return reconstruct, arguments, (1, (1,), Dtype(), False, b"\x01" * 8)

    path = tmp_path / "a.pt"
    torch.save({"a": Array(), "b": kind}, path, _use_new_zipfile_serialization=not legacy)
    found = read_saved(path)
    assert found["a"].tolist() == [0x0101010101010101]
    assert not found["a"].dtype.hasobject
    assert not isinstance(found["b"], np.dtype)
