"""Pixels of more than 8 bits keep their values, whatever holds them: files, arrays or data sets in memory."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from noisylabels import NoisyLabelClassifier
from noisylabels.core.checks import InputError
from noisylabels.data import cache
from noisylabels.data.catalog import load
from noisylabels.data.decode import read_images
from noisylabels.data.features import joined, with_labels
from noisylabels.data.image_decoding import read_pixels
from noisylabels.data.images import image_set, like, subset
from noisylabels.data.pixel_range import DEPTHS, Peaks, White, to_bytes, white_of
from noisylabels.experiment.prediction import load_model, predict, predict_files
from noisylabels.models.catalog import build_model
from noisylabels.training.weights_file import save_model


def expected(values, white):
    """Compute the nearest of 256 levels with fractions, independent of the code."""
    return np.rint(values.astype(np.float64) / white * 255 + 1e-9).astype(np.uint8)


def deep(bits, n=12, side=6):
    """Return gray images, uint16 (n, side, side), of this many bits; only the last has the largest value."""
    values = np.random.default_rng(bits).integers(0, 2**bits * 3 // 4, (n, side, side)).astype(np.uint16)
    values[-1, 0, 0] = 2**bits - 1
    return values


def gray_files(root, values, suffix):
    for row, one in enumerate(values):
        (root / "ab"[row % 2]).mkdir(exist_ok=True, parents=True)
        Image.fromarray(one).save(root / "ab"[row % 2] / f"{row:02d}{suffix}")
    return root


def loaded(source, n=12):
    """Return the images in the order of the number in their id, and the notes."""
    train, test = load(source)
    pairs = [pair for part in (train, test) for pair in zip(part.ids, part.images.numpy(), strict=True)]
    number = [int("".join(c for c in name if c.isdigit())) for name, _ in pairs]
    return np.stack([image for _, image in pairs])[np.argsort(number)], train.notes


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", DEPTHS[1:])
def test_gray_files_of_16_bits_use_the_bits_of_the_set(bits, suffix, tmp_path):
    values = deep(bits)
    images, notes = loaded(gray_files(tmp_path / "set", values, suffix))
    assert np.array_equal(images[:, 0], expected(values, 2**bits - 1))
    said = [note for note in notes if "images of more than 8 bits" in note]
    assert len(said) == (bits < 16)
    if said:
        assert f"largest value is {2**bits - 1:,}, are read as images of {bits} bits" in said[0]


@pytest.mark.parametrize("bits", [12, 16])
def test_processes_use_the_bits_of_the_set_too(bits, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PROCESSES_FROM", 1)
    values = deep(bits, n=80)
    values[33, 0, 0], values[-1, 0, 0] = 2**bits - 1, 0  # not among the images that are sampled first
    images, notes = loaded(gray_files(tmp_path / "set", values, ".png"))
    assert np.array_equal(images[:, 0], expected(values, 2**bits - 1))
    assert any("are read as images of 12 bits" in note for note in notes) == (bits == 12)


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_files_of_floats_are_read_by_the_range_of_the_set(white, tmp_path):
    values = (np.random.default_rng(0).random((12, 6, 6)) * white).astype(np.float32)
    images, notes = loaded(gray_files(tmp_path / "set", values, ".tif"))
    assert np.array_equal(images[:, 0], expected(values, white))
    assert f"images of floats are read as 0 to {white:g}, which becomes 255" in notes


@pytest.mark.parametrize("value", [-0.5, 300, np.nan])
def test_floats_of_no_defined_range_are_unreadable(value, tmp_path):
    values = np.full((12, 6, 6), 0.5, np.float32)
    values[5, 0, 0] = value
    with pytest.raises(InputError, match=r"b/05.tif \(floating-point pixels beyond"):
        load(gray_files(tmp_path / "set", values, ".tif"))


def test_colors_of_16_bits_that_are_nearly_black_are_named(tmp_path):
    import struct
    import zlib

    def png(values):  # Pillow writes no PNG of 16 bits per channel
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        parts = (
            b"IHDR" + struct.pack(">IIBBBBB", 6, 6, 16, 2, 0, 0, 0),
            b"IDAT" + zlib.compress(rows),
            b"IEND",
        )
        made = (struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(made)

    for bits in (12, 16):
        values = np.random.default_rng(0).integers(0, 2**bits, (12, 6, 6, 3))
        for row, one in enumerate(values):
            path = tmp_path / str(bits) / "ab"[row % 2] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(one))
        images, notes = loaded(tmp_path / str(bits))
        assert np.array_equal(images, (values >> 8).transpose(0, 3, 1, 2))
        said = [note for note in notes if "16 bits per channel" in note]
        assert len(said) == (bits == 12)
        if said:
            assert said[0].startswith("12 color images of 16 bits per channel hold at most 12 bits, and only")
            assert "their values end at 15 of 255" in said[0]


BYTES = np.random.default_rng(0).integers(2, 256, (12, 6, 6, 3)).astype(np.uint8)
SCALED = {
    "uint8": (BYTES, BYTES),
    "int64": (BYTES.astype(np.int64), BYTES),
    "uint16": (BYTES.astype(np.uint16), BYTES),
    "float32 to 1": (BYTES.astype(np.float32) / 255, BYTES),
    "float64 to 255": (BYTES.astype(np.float64), BYTES),
    "float16 to 1": ((BYTES > 99).astype(np.float16), (BYTES > 99) * np.uint8(255)),
    "bool": (BYTES > 99, (BYTES > 99) * np.uint8(255)),
    "12 bits": (np.minimum(BYTES.astype(np.uint16) * 16 + 15, 4095), BYTES),
    "16 bits": (BYTES.astype(np.uint16) * 257, BYTES),
}


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("form", ["npz", "npy", "array", "tensor", "image_set"])
def test_arrays_of_any_type_have_their_values(form, kind, tmp_path):
    values, right = SCALED[kind]
    right = right.transpose(0, 3, 1, 2)
    labels = np.arange(12) % 2
    if form == "image_set":
        made = image_set(values, labels, ("a", "b"))
        images, notes = made.images.numpy(), made.notes
    else:
        if form == "npz":
            np.savez(tmp_path / "a.npz", x=values, y=labels)
        elif form == "npy":
            np.save(tmp_path / "x.npy", values)
            np.save(tmp_path / "y.npy", labels)
        source = {"npz": tmp_path / "a.npz", "npy": tmp_path}.get(form)
        if form == "array":
            source = list(zip(values, labels, strict=True))
        elif form == "tensor":
            if values.dtype == np.uint16:
                values = values.astype(np.int32)
            source = [(torch.from_numpy(v).movedim(2, 0), y) for v, y in zip(values, labels, strict=True)]
        images, notes = loaded(source)
    assert np.abs(images.astype(int) - right).max() <= (1 if kind == "12 bits" else 0)
    said = any("images of floats" in note or "images of more than 8 bits" in note for note in notes)
    assert said == (kind not in ("uint8", "bool", "16 bits"))


def parquet(path, values):
    contents = []
    for one in values:
        Image.fromarray(one).save(file := io.BytesIO(), "png")
        contents.append({"bytes": file.getvalue()})
    pq.write_table(pa.table({"image": contents, "label": [0, 1] * (len(values) // 2)}), path)
    return path


def array_file(path, values):
    np.savez(path, x=values, y=np.arange(len(values)) % 2)
    return path


def shards(path, values):
    with tarfile.open(path, "w") as tar:
        for row, one in enumerate(values):
            Image.fromarray(one).save(file := io.BytesIO(), "png")
            for suffix, content in (("png", file.getvalue()), ("cls", b"%d" % (row % 2))):
                entry = tarfile.TarInfo(f"{row:02d}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


SOURCES = {
    "folder": lambda root, values: gray_files(root / "set", values, ".png"),
    "parquet": lambda root, values: parquet(root / "a.parquet", values),
    "npz": lambda root, values: array_file(root / "a.npz", values),
    "shards": lambda root, values: shards(root / "a.tar", values),
    "arrays": lambda root, values: (values, np.arange(len(values)) % 2),
    "pairs": lambda root, values: [(one, row % 2) for row, one in enumerate(values)],
    "paths": lambda root, values: (
        sorted(map(str, gray_files(root / "set", values, ".png").rglob("*.png"))),
        [0, 1] * (len(values) // 2),
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_set_knows_what_became_255(source, tmp_path):
    for bits in (8, 12):
        values = deep(bits) if bits > 8 else deep(8).astype(np.uint8)
        place = tmp_path / str(bits)
        place.mkdir()
        given = SOURCES[source](place, values)
        for _ in range(2):  # the second time from the cache
            train, test = load(given)
            assert train.white == test.white == (None if bits == 8 else White(4095, 0))
            both = joined(train, test)
            for made in (subset(both, [3, 1]), with_labels(both, 1 - both.labels), like(train, train)):
                assert made.white == train.white


@pytest.mark.parametrize("kind", ["12 bits", "16 bits", "floats to 255"])
def test_an_image_is_predicted_as_scaled_in_training(kind, tmp_path):
    white, dtype, suffix, dark = {
        "12 bits": (4095, np.uint16, ".png", 8),
        "16 bits": (65535, np.uint16, ".png", 8),
        "floats to 255": (255, np.float32, ".tif", 255),
    }[kind]
    values = (np.random.default_rng(0).random((12, 6, 6)) * white).astype(dtype)
    values[-1, 0, 0], values[1] = white, values[1] / dark  # alone, it would be read by another range
    train, test = load(folder := gray_files(tmp_path / "set", values, suffix))
    shape = {"name": "mlp:16", "channels": 1, "image_size": (6, 6), "num_classes": 2, "width": 1.0}
    torch.manual_seed(0)
    save_model(tmp_path / "m.safetensors", build_model(**shape), shape, train)
    trained = load_model(tmp_path / "m.safetensors", "cpu")
    ids, probs = predict_files(trained, [folder])
    right = dict(zip(ids, probs.tolist(), strict=True))
    for part in (train, test):
        for name, found in zip(part.ids, predict(trained, part.images).tolist(), strict=True):
            assert right[str(folder / name)] == pytest.approx(found, abs=1e-6)
    alone = str(folder / "b" / f"01{suffix}")
    assert predict_files(trained, [alone])[1][0].tolist() == pytest.approx(right[alone], abs=1e-6)


def test_an_estimator_reads_paths_as_in_training(tmp_path):
    values = deep(12, n=24)
    values[::2] //= 16
    paths = sorted(map(str, gray_files(tmp_path / "set", values, ".png").rglob("*.png")))
    labels = [Path(path).parent.name for path in paths]
    model = NoisyLabelClassifier(loss="ce", features="none", epochs=2, random_state=0).fit(paths, labels)
    alone = np.concatenate([model.predict_proba([path]) for path in paths])
    np.testing.assert_allclose(alone, model.predict_proba(paths), atol=1e-6)
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    scaled = expected(images, 4095)[:, None]
    np.testing.assert_allclose(alone, model.predict_proba(scaled), atol=1e-6)


def test_a_larger_value_than_in_training_is_refused(tmp_path):
    train, _ = load(gray_files(tmp_path / "set", deep(12), ".png"))
    paths = [str(tmp_path / "set" / "a" / "00.png"), str(tmp_path / "b.png")]
    Image.fromarray(np.full((6, 6), 60000, np.uint16)).save(paths[1])
    how = {"channels": 1, "image_size": (6, 6), "trained": train.white}
    with pytest.raises(InputError, match=r"b.png \(integer pixels beyond 0..4095, the range of the training"):
        read_images(paths, **how)
    notes = []
    assert len(read_images(paths, **how, bad_images="skip", notes=notes)[0]) == 1
    assert "largest value is 60,000, are read as images of 12 bits: 4,095 becomes 255" in notes[0]


@pytest.mark.parametrize(
    "values", [-BYTES.astype(float), BYTES * 1000.0, BYTES / 255 - 0.5, BYTES.astype(int) - 9]
)
def test_arrays_of_no_defined_range_are_refused(values, tmp_path):
    np.savez(tmp_path / "a.npz", x=values, y=np.arange(12) % 2)
    for act in (
        lambda: load(tmp_path / "a.npz"),
        lambda: load(list(zip(values, [0, 1] * 6, strict=True))),
        lambda: image_set(values, [0, 1] * 6, ("a", "b")),
    ):
        with pytest.raises(InputError, match=r"holds (float|int)64 values from .*, expected 0 to"):
            act()


@pytest.mark.parametrize("most", [1.5, 16, 100])
def test_floats_that_end_elsewhere_are_refused(most, tmp_path, monkeypatch):
    values = (BYTES / 255 * most).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=values, y=np.arange(12) % 2)
    files = gray_files(tmp_path / "set", values[..., 0], ".tif")
    for source in (tmp_path / "a.npz", list(zip(values, [0, 1] * 6, strict=True)), files):
        with pytest.raises(InputError, match=r"floats from 0 to .*, expected 0 to 1 or 0 to 255; scale them"):
            load(source)
    monkeypatch.setattr(cache, "PROCESSES_FROM", 1)
    with pytest.raises(InputError, match=r"floats from 0 to .*, expected 0 to 1 or 0 to 255; scale them"):
        load(files)


def test_arrays_of_any_order_of_axes_make_an_image_set():
    gray = BYTES[..., 0]
    for values, shape in (
        (BYTES, (12, 3, 6, 6)),
        (BYTES.transpose(0, 3, 1, 2), (12, 3, 6, 6)),
        (gray, (12, 1, 6, 6)),
    ):
        assert tuple(image_set(values, [0, 1] * 6, ("a", "b")).images.shape) == shape
    assert torch.equal(
        image_set(BYTES, [0, 1] * 6, ("a", "b")).images, torch.from_numpy(BYTES).permute(0, 3, 1, 2)
    )


@pytest.mark.parametrize("bits", DEPTHS)
def test_black_and_white_stay_what_they_are(bits):
    white = white_of(Peaks(deep=2**bits - 1))
    assert white.deep == 2**bits - 1
    assert to_bytes(np.array([0, 2**bits - 1]), white).tolist() == [0, 255]
    levels = np.arange(0, 2**bits, max(1, 2**bits // 999))
    assert np.abs(to_bytes(levels, white).astype(float) - levels * 255 / white.deep).max() <= 0.5


def test_an_alone_image_of_16_bits_has_the_full_range(tmp_path):
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / "a.png")
    assert (read_pixels(tmp_path / "a.png", 1, (4, 4)) == 16).all()
