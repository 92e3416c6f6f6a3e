"""Generators of image files: sound ones of odd kinds, damaged ones, headers that lie."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from campaign.cases import Case, Place, generator
from campaign.draw import EDGES, Draw, chunk

FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "gif": "GIF",
    "webp": "WEBP",
    "tif": "TIFF",
    "bmp": "BMP",
    "ppm": "PPM",
}
MODES = {
    "PNG": ("RGB", "L", "RGBA", "P", "1", "I;16", "LA"),
    "JPEG": ("RGB", "L", "CMYK"),
    "GIF": ("P", "L"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "L", "I;16", "F", "CMYK", "1", "RGBA"),
    "BMP": ("RGB", "L", "1"),
    "PPM": ("RGB", "L"),
}


def picture(draw: Draw, kind: str, side: int | None = None, mode: str | None = None) -> bytes:
    """Return a small image of a format, in a mode that the format has."""
    side = side or draw.choice((12, 12, 12, 1, 9, 40))
    mode = mode or draw.often(lambda: "RGB", lambda: draw.choice(MODES[kind]), 0.7)
    noise = np.frombuffer(draw.bits(side * side * 3), np.uint8).reshape(side, side, 3)
    made = Image.fromarray(noise)
    if mode == "I;16":
        made = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif kind != "GIF" and mode != "RGB":
        made = made.convert(mode)
    buffer = io.BytesIO()
    options: dict[str, object] = {}
    if draw.chance(0.15) and kind in ("GIF", "WEBP", "TIFF", "PNG"):
        options = {"save_all": True, "append_images": [made] * draw.randint(1, 3)}
    if draw.chance(0.1) and kind == "JPEG":
        options = {"exif": exif(draw), "progressive": True}
    try:
        made.save(buffer, kind, **options)
    except (OSError, ValueError):
        made.convert("RGB").save(buffer := io.BytesIO(), kind)
    return buffer.getvalue()


def exif(draw: Draw) -> bytes:
    """Return EXIF data with an orientation, at times damaged."""
    content = Image.Exif()
    content[0x0112] = draw.randint(0, 10)
    return draw.damaged(content.tobytes()) if draw.chance(0.5) else content.tobytes()


def lying_png(draw: Draw) -> bytes:
    """Return a PNG with sound checksums whose header or data claim something else, such as a huge size."""
    wide, high = (draw.choice((1, 12, 60_000, *(edge % 2**32 for edge in EDGES))) for _ in range(2))
    header = struct.pack(
        ">IIBBBBB",
        wide,
        high,
        draw.choice((8, 1, 16, 3)),
        draw.choice((2, 0, 3, 6, 5)),
        0,
        0,
        draw.choice((0, 1, 7)),
    )
    data = zlib.compress(bytes(draw.choice((0, 12 * 37, 10_000_000))))
    extra = draw.choice(
        (
            b"",
            chunk(b"tEXt", b"k\0" + b"v" * 99),
            chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**7))),
            chunk(b"PLTE", draw.bits(9)),
            chunk(b"iCCP", b"x\0\0" + draw.bits(30)),
            chunk(b"acTL", draw.bits(8)),
        )
    )
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def image_bytes(draw: Draw, suffix: str) -> bytes:
    """Return the content of an image file: sound, damaged, lying, or something else."""
    sound = picture(draw, FORMATS[suffix])
    way = draw.random()
    if way < 0.45:
        return draw.damaged(sound)
    if way < 0.6:
        return lying_png(draw)
    if way < 0.7:
        return draw.choice(
            (
                b"",
                b"GIF89a",
                b"<svg/>",
                b"\xff\xd8\xff",
                draw.bits(200),
                picture(draw, draw.choice(list(FORMATS.values()))),
            )
        )
    return sound


def class_folders(draw: Draw, root: Path, each: int = 4) -> list[Path]:
    """Write sound images of one size in a folder per class and return their paths."""
    suffix = draw.choice(("png", "png", "jpg"))
    paths = []
    for name in draw.choice(
        (
            ("cat", "dog"),
            ("0", "1", "2"),
            ("a b", "c'd"),
            ("é", "中"),
            ("train/x", "train/y", "test/x", "test/y"),
        )
    ):
        (root / name).mkdir(parents=True)
        for k in range(each):
            path = root / name / f"{k}.{suffix}"
            path.write_bytes(picture(draw, FORMATS[suffix], 12, "RGB"))
            paths.append(path)
    return paths


def read_pictures(draw: Draw, data: str) -> list[str]:
    """Return a command that decodes a set of images."""
    more = ["--bad-images", "skip"] if draw.chance(0.5) else []
    more += ["--image-size", "8"] if draw.chance(0.4) else []
    verb = draw.randrange(8)
    if verb == 0:
        return ["train", "--data", data, "--features", "none", "--epochs", "1", "--out", "run", *more]
    if verb == 1:
        return ["audit", data, "--features", "none", "--epochs", "1", "--folds", "2", "--out", "audit", *more]
    return ["noise", "symmetric:0.2", "--data", data, *more]


@generator("image files", 6)
def images(draw: Draw, place: Place) -> Case:
    """Read class folders in which some images are odd or damaged."""
    paths = class_folders(draw, place.inside / "photos")
    for _ in range(draw.choice((0, 1, 1, 2))):
        path, suffix = draw.choice(paths), draw.choice(sorted(FORMATS))
        path.with_name(f"odd{draw.randrange(99)}.{suffix}").write_bytes(image_bytes(draw, suffix))
    return Case(read_pictures(draw, "photos"))


@generator("images to predict", 2)
def predict(draw: Draw, place: Place) -> Case:
    """Predict odd or damaged images with a sound run."""
    run = place.copy("run-photos", "run").name
    names = []
    for k in range(draw.randint(1, 3)):
        suffix = draw.choice(sorted(FORMATS))
        name = (
            f"{k}.{suffix}"
            if draw.chance(0.8)
            else f"{k}{draw.odd_text().replace('/', '_')}".replace("\0", "") + f".{suffix}"
        )
        try:
            (place.inside / name).write_bytes(image_bytes(draw, suffix))
        except OSError:  # the name is too long
            continue
        names.append(name)
    out = ["--out", "labels.csv"]  # names in data on standard output stay as they are
    skip = ["--bad-images", "skip"] if draw.chance(0.5) else []
    return Case(["predict", run, *(f"./{name}" for name in names), *out, *skip], written=["labels.csv"])
