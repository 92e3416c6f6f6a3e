"""Generators of weights: safetensors, checkpoints, pickles of torch, folders of an encoder."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from campaign.cases import Case, Place, generator
from campaign.draw import EDGES, Draw


class Planted:
    """An object whose pickle runs code when a careless reader loads it: it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def altered_header(draw: Draw, content: bytes) -> bytes:
    """Return a safetensors file whose header is changed: its size, a name, a type, a shape, an offset."""
    from campaign.texts import to_json

    size = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    way = draw.randrange(5)
    names = [name for name in header if name != "__metadata__"]
    if way == 0:
        return struct.pack("<Q", draw.choice(EDGES)) + content[8:]
    if way == 1:
        header = draw.altered(header)
    elif names:
        entry = header[draw.choice(names)]
        if way == 2:
            entry["shape"] = draw.choice(
                ([], [0], [2**40], [2**62, 4], [-1], entry["shape"][::-1], [1, *entry["shape"]])
            )
        elif way == 3:
            entry["dtype"] = draw.choice(("F64", "I64", "BOOL", "F16", "U8", "F4", ""))
        else:  # a tensor of petabytes, consistent but for the file's size
            entry["shape"], entry["data_offsets"] = [2**48], [0, 2**50]
    made = to_json(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(made)) + made + body


def altered_checkpoint(draw: Draw, path: Path) -> None:
    """Change a file of `torch.save`: a value of its tree, its pickle, or plant code in it."""
    import torch

    way = draw.randrange(4)
    marker = path.parents[2] / "code-was-run" if len(path.parents) > 2 else path.with_name("code-was-run")
    if way == 0:
        tree = torch.load(path, weights_only=False)
        torch.save({**tree, "extra": Planted(marker)}, path)
    elif way == 1:
        tree = torch.load(path, weights_only=False)
        key = draw.choice(sorted(tree, key=str))
        tree[key] = draw.choice(
            (None, [], {}, "x", 7, torch.zeros(1), torch.zeros(3, 3), {"a": torch.zeros(2)})
        )
        if draw.chance(0.2):
            tree.pop(key)
        torch.save(tree, path)
    elif way == 2:
        rezip(draw, path, marker)
    else:
        path.write_bytes(pickle.dumps(Planted(marker)))


def rezip(draw: Draw, path: Path, marker: Path) -> None:
    """Damage the pickle inside a file of `torch.save`, or put another one there; the archive stays sound."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    for name in members:
        if name.endswith("data.pkl"):
            members[name] = draw.choice(
                (draw.damaged(members[name]), pickle.dumps(Planted(marker), protocol=2))
            )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)
    path.write_bytes(buffer.getvalue())


@generator("weights of a run", 2)
def weights(draw: Draw, place: Place) -> Case:
    """Predict with a run whose weights claim another shape, type or size."""
    name, data = draw.choice((("run-photos", "photos"), ("run-table", "table.csv")))
    path = place.copy(name, "run") / "model.safetensors"
    if draw.chance(0.65):
        path.write_bytes(altered_header(draw, path.read_bytes()))
    place.copy(data, data)
    return Case(["predict", "run", data, "--out", "labels.csv"], written=["labels.csv"])


@generator("checkpoint", 2)
def checkpoint(draw: Draw, place: Place) -> Case:
    """Resume a run whose checkpoint is damaged, of another run, or holds code."""
    folder = place.copy("run-begun", "run")
    if draw.chance(0.65):
        altered_checkpoint(draw, folder / "checkpoint.pt")
    return Case(["train", place.copy("run-begun.toml", "recipe.toml").name, "--out", "run"])


CONFIG = {
    "model_type": "vit",
    "architectures": ["ViTModel"],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 3,
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 8, "width": 8},
    "do_resize": True,
    "do_normalize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "rescale_factor": 0.00392,
}


@generator("folder of an encoder", 1)
def encoder(draw: Draw, place: Place) -> Case:
    """Embed with a folder in the hub's layout whose files are damaged, huge, or bring code."""
    from campaign.folders import harm_file
    from campaign.texts import to_json

    place.copy("photos", "photos")
    folder = place.copy("encoder", "encoder")
    for name, tree in (("config.json", CONFIG), ("preprocessor_config.json", PROCESSOR)):
        if draw.chance(0.4):
            (folder / name).write_text(to_json(draw.altered(tree)))
    way = draw.randrange(4)
    if way == 0:
        huge = {"hidden_size": draw.choice((2**20, 10**9)), "num_hidden_layers": draw.choice((10**4, 10**7))}
        (folder / "config.json").write_text(json.dumps(CONFIG | huge))
    elif way == 1:
        harm_file(draw, place, folder / "model.safetensors")
    elif way == 2:
        (folder / "modeling_evil.py").write_text(f"open({str(place.marker)!r}, 'w')\n")
        named = {
            "auto_map": {"AutoModel": "modeling_evil.Model", "AutoConfig": "modeling_evil.Config"},
            "model_type": "evil",
        }
        (folder / "config.json").write_text(json.dumps(CONFIG | named))
    return Case(["embed", "photos", "--features", "hf:encoder", "--out", "f.npz"], written=["f.npz"])
