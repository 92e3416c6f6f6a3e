"""Generators of whole sets: IDX, image Parquet, tables of paths, folders with links and odd names."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from campaign.cases import Case, Place, generator
from campaign.draw import EDGES, Draw
from campaign.pictures import class_folders, image_bytes, picture, read_pictures
from campaign.tables import spoil, write_table


def idx(draw: Draw, shape: tuple[int, ...], content: bytes) -> bytes:
    """Return an IDX file, at times with a header that does not fit its data."""
    code, sizes = 8, list(shape)
    if draw.chance(0.07):
        sizes[draw.randrange(len(sizes))] = draw.choice(EDGES) % 2**32
    if draw.chance(0.04):
        code = draw.randrange(256)
    if draw.chance(0.02):
        sizes.append(1)
    made = bytes((0, 0, code, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes) + content
    return draw.damaged(made) if draw.chance(0.07) else made


@generator("IDX files", 2)
def idx_set(draw: Draw, place: Place) -> Case:
    """Read four IDX files, compressed or not."""
    root = place.inside / "idx"
    root.mkdir()
    side = draw.choice((8, 28))
    for part, n in (("train", 12), ("t10k", 6)):
        for name, body in (
            (f"{part}-images-idx3-ubyte", idx(draw, (n, side, side), draw.bits(n * side * side))),
            (f"{part}-labels-idx1-ubyte", idx(draw, (n,), bytes(k % 3 for k in range(n)))),
        ):
            if draw.chance(0.3):
                packed = gzip.compress(body, 1, mtime=0)
                (root / f"{name}.gz").write_bytes(draw.damaged(packed) if draw.chance(0.1) else packed)
            elif not draw.chance(0.03):
                (root / name).write_bytes(body)
    return Case(read_pictures(draw, "idx"))


@generator("image Parquet", 4)
def image_parquet(draw: Draw, place: Place) -> Case:
    """Read a folder in the layout of the Hugging Face hub."""
    root = place.inside / draw.choice(("hub", "hub/data"))
    root.mkdir(parents=True)
    count, kind = draw.choice((1, 8, 8, 20)), draw.choice(("PNG", "JPEG"))
    images: list[object] = [
        {"bytes": picture(draw, kind, 12, "RGB"), "path": f"{k}.{kind.lower()}"} for k in range(count)
    ]
    if draw.chance(0.35):
        at = draw.randrange(count)
        images[at] = draw.choice(
            (
                {"bytes": image_bytes(draw, "png"), "path": None},
                {"bytes": None, "path": "../outside/precious0.txt"},
                None,
                {"bytes": b"", "path": ""},
                {"bytes": None, "path": None},
            )
        )
    label_type = draw.choice(
        (pa.int64(), pa.int64(), pa.string(), pa.uint8(), pa.float64(), pa.bool_(), pa.list_(pa.int64()))
    )
    values: list[object] = [k % 2 for k in range(count)]
    if pa.types.is_string(label_type):
        values = [("cat", "dog")[k % 2] for k in range(count)]
    elif pa.types.is_list(label_type):
        values = [[k % 2] for k in range(count)]
    elif pa.types.is_boolean(label_type):
        values = [bool(k % 2) for k in range(count)]
    if draw.chance(0.1):
        values[draw.randrange(count)] = None
    names = [
        draw.often(lambda: "image", lambda: draw.choice(("img", "x", ""))),
        draw.often(lambda: "label", lambda: draw.choice(("fine_label", "y", ""))),
    ]
    table = pa.table([pa.array(images), pa.array(values, label_type)], names=names)
    if draw.chance(0.7):
        from campaign.texts import to_json

        features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        about: object = {"info": {"features": features}}
        text = to_json(draw.altered(about)) if draw.chance(0.3) else json.dumps(about)
        table = table.replace_schema_metadata({"huggingface": text})
    for part in draw.choice((("train",), ("train", "test"), ("train", "validation"))):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, row_group_size=draw.choice((3, 1000)))
        content = draw.damaged(buffer.getvalue()) if draw.chance(0.1) else buffer.getvalue()
        (root / f"{part}-00000-of-00001.parquet").write_bytes(content)
    return Case(read_pictures(draw, "hub"))


@generator("table of paths", 2)
def paths(draw: Draw, place: Place) -> Case:
    """Read a CSV of paths and labels, of which some are odd or lead out of the folder."""
    files = [
        path.relative_to(place.inside).as_posix() for path in class_folders(draw, place.inside / "photos", 3)
    ]
    names = ["path", "label"]
    rows = [[name, name.split("/")[1]] for name in files]
    if draw.chance(0.3):
        rows.append(
            [
                draw.choice(
                    (
                        "../outside/precious0.txt",
                        "/etc/passwd",
                        "photos",
                        "nowhere.png",
                        "photos/../" + files[0],
                    )
                ),
                "x",
            ]
        )
    if draw.chance(0.4):
        spoil(draw, names, rows)
    name = f"list.{draw.choice(('csv', 'tsv'))}"
    write_table(draw, place.inside / name, names, rows)
    return Case(read_pictures(draw, name))


def strange_entry(draw: Draw, place: Place, folder: Path) -> None:
    """Add an entry that is no plain file: a link, a pipe, a device, a folder; or an odd name."""
    way, name = draw.randrange(8), f"odd{draw.randrange(99)}.png"
    path = folder / name
    if way == 0:
        path.symlink_to(place.outside / "precious0.txt")
    elif way == 1:
        path.symlink_to(path.name)
    elif way == 2:
        os.mkfifo(path)
    elif way == 3:
        path.mkdir()
    elif way == 4:
        (folder / "loop").symlink_to("..")
    elif way == 5:
        path.symlink_to("/dev/zero")
    elif way == 6:
        (folder / "far").symlink_to(place.outside / "folder")
    else:
        odd_name(draw, folder)


def odd_name(draw: Draw, folder: Path) -> None:
    """Add a sound image or a folder of them under a name that few programs expect."""
    raw = draw.choice(
        (
            b"\xff\xfe.png",
            b"a\nb.png",
            b"\x1b[31m.png",
            b" .png",
            b"-x.png",
            b"n" * 250 + b".png",
            b"'\".png",
            "é.png".encode(),
            "e\u0301.png".encode(),
            b"%s.png",
            b"[red].png",
            b"$(id).png",
            b"A.PNG",
            b".hidden.png",
            b"a,b.png",
            b"\\.png",
        )
    )
    target = os.fsencode(folder) + b"/" + raw
    if draw.chance(0.5):
        with open(target, "wb") as file:
            file.write(picture(draw, "PNG", 12, "RGB"))
    else:  # the name is that of a class
        os.makedirs(target, exist_ok=True)
        for k in range(3):
            with open(target + b"/%d.png" % k, "wb") as file:
                file.write(picture(draw, "PNG", 12, "RGB"))


@generator("strange folders", 3)
def strange(draw: Draw, place: Place) -> Case:
    """Read class folders among which lie links, pipes and odd names."""
    paths = class_folders(draw, place.inside / "photos")
    for _ in range(draw.randint(1, 3)):
        try:
            strange_entry(draw, place, draw.choice((place.inside / "photos", draw.choice(paths).parent)))
        except FileExistsError:
            continue
    return Case(read_pictures(draw, "photos"))
