"""Generators of arrays: .npy and .npz of images, features, labels; transition matrices."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from campaign.cases import Case, Place, generator
from campaign.draw import Draw
from campaign.tables import words_for

DTYPES = (
    "uint8",
    "int8",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bool",
    "complex64",
    "datetime64[s]",
    "U3",
    "S3",
    ">f4",
    ">i8",
    "V8",
)


def odd_array(draw: Draw, array: np.ndarray) -> np.ndarray:
    """Return an array with another shape, type or values."""
    way = draw.randrange(6)
    if way == 0:
        return array[: draw.randint(0, len(array))]
    if way == 1:
        return array.reshape(draw.choice(((-1,), (1, -1), (-1, 1), (*array.shape, 1), (1, *array.shape))))
    if way == 2:
        with np.errstate(all="ignore"):
            try:
                return array.astype(draw.choice(DTYPES))
            except (TypeError, ValueError):
                return array.astype(bool)
    if way == 3 and array.dtype.kind == "f" and array.size:
        array = array.copy()
        with np.errstate(all="ignore"):
            array.flat[draw.randrange(array.size)] = np.array(
                draw.choice((np.nan, np.inf, -np.inf, 1e30, -1))
            ).astype(array.dtype)
        return array
    if way == 4:
        return np.array(
            draw.choice((0, "x", [], None, {"a": 1}, [[]])), dtype=object if draw.chance(0.3) else None
        )
    return np.concatenate([array, array]) if array.ndim else array


def npy(draw: Draw, array: np.ndarray, share: float = 0.25) -> bytes:
    """Return an .npy file, with this probability with a changed header or damaged bytes."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    content = buffer.getvalue()
    if not draw.chance(share):
        return content
    if draw.chance(0.5):
        return draw.damaged(content)
    start = content.index(b"{")
    end = content.index(b"\n", start)
    header = content[start:end].decode("latin-1").rstrip()
    old, new = draw.choice(
        (
            (str(array.shape), f"({10 ** draw.randint(1, 12)}, {10 ** draw.randint(1, 12)})"),
            (str(array.shape), "(-1,)"),
            (str(array.shape), "()"),
            ("False", "True"),
            ("'descr'", "'description'"),
            ("'<", "'>"),
            ("descr': ", "descr': [], 'x': "),
            (str(array.shape), "(" * 300 + ")" * 300),
            (str(array.shape), "(" + "9" * 5000 + ",)"),
            ("<", "|O"),
        )
    )
    changed = header.replace(old, new, 1).encode("latin-1")
    changed += b" " * (-(len(changed) + 11) % 64) + b"\n"
    return (
        b"\x93NUMPY\x01\x00" + min(len(changed), 65535).to_bytes(2, "little") + changed + content[end + 1 :]
    )


def member(name: str, packed: int) -> zipfile.ZipInfo:
    """Return the entry of a file in an archive, without the time of day: a case is the same at any time."""
    entry = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
    entry.compress_type = packed
    return entry


def npz(draw: Draw, arrays: Mapping[str, Any], share: float = 0.3) -> bytes:
    """Return an .npz file; each member, or the archive around sound members, may be damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, array in arrays.items():
            name = name.replace("\0", "").encode("utf-8", "replace").decode() or "x"
            file.writestr(member(f"{name}.npy", file.compression), npy(draw, np.asarray(array), share / 2))
        if draw.chance(share / 3):
            file.writestr(
                member(draw.choice(("../escaped.npy", "/abs.npy", "x", "y.npy", "dir/")), file.compression),
                draw.bits(draw.randint(0, 99)),
            )
    return draw.damaged(buffer.getvalue()) if draw.chance(share / 2) else buffer.getvalue()


def set_of(draw: Draw) -> dict[str, np.ndarray]:
    """Return arrays of a set of images or features, under one of the usual sets of names."""
    rng = np.random.default_rng(draw.getrandbits(32))
    n = draw.choice((1, 10, 24, 24, 24))
    shape = draw.choice(((n, 8, 8), (n, 8, 8, 3), (n, 3, 8, 8), (n, 8, 8, 1), (n, 5), (n, 5)))
    X = (
        rng.integers(0, 256, shape).astype(np.uint8)
        if len(shape) > 2
        else rng.normal(size=shape).astype(np.float32)
    )
    y: np.ndarray = np.arange(n) % draw.choice((2, 3))
    y = draw.choice((y, y, y, y.astype(np.uint8), y.astype(str), y[:, None], np.eye(3)[y % 3]))
    names = draw.choice(
        (("X", "y"), ("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"))
    )
    found = dict(zip(names, (X, y), strict=True))
    if "train" in names[0] and draw.chance(0.7):
        found |= {name.replace("train", "test"): value[: max(1, n // 2)] for name, value in found.items()}
    if draw.chance(0.2):
        found["ids"] = np.array([f"i{k}" for k in range(n)])
    if draw.chance(0.2):
        found["class_names"] = np.array(["a", "b", "c"])
    return found


@generator("npz set", 4)
def npz_set(draw: Draw, place: Place) -> Case:
    """Read a set in one .npz file."""
    found = set_of(draw)
    if draw.chance(0.4):
        name = draw.choice(sorted(found))
        found[name] = odd_array(draw, found[name])
        if draw.chance(0.2):
            found[draw.odd_text()] = found.pop(name)
    (place.inside / "set.npz").write_bytes(npz(draw, found, 0.3))
    return Case(words_for(draw, "set.npz"))


@generator("npy set", 2)
def npy_set(draw: Draw, place: Place) -> Case:
    """Read a set in a folder of .npy files."""
    found = set_of(draw)
    (place.inside / "set").mkdir()
    for name, array in found.items():
        array = odd_array(draw, array) if draw.chance(0.1) else array
        (place.inside / "set" / f"{name}.npy").write_bytes(npy(draw, array, 0.15))
    return Case(words_for(draw, "set"))


@generator("transition matrix", 1.5)
def matrix(draw: Draw, place: Place) -> Case:
    """Add the noise of a transition matrix to the digits."""
    rate = draw.random()
    T = np.full((10, 10), rate / 9) + np.eye(10) * (1 - rate - rate / 9)
    if draw.chance(0.5):
        T = odd_array(draw, T)
    suffix = draw.choice(("npy", "csv", "tsv"))
    path = place.inside / f"T.{suffix}"
    if suffix == "npy":
        path.write_bytes(npy(draw, T))
    else:
        comma = {"csv": ",", "tsv": "\t"}[suffix]
        rows = np.atleast_2d(T).reshape(len(np.atleast_1d(T)), -1) if T.size else np.zeros((0, 0))
        content = "\n".join(comma.join(map(str, row)) for row in rows.tolist()).encode("utf-8", "replace")
        path.write_bytes(draw.damaged(content) if draw.chance(0.3) else content)
    return Case(["noise", f"matrix:{path.name}"])
