"""Model files, model.safetensors: the weights, and a header that describes the model and its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError
from noisylabels.core.files import atomic_replace
from noisylabels.core.json_text import parse_json
from noisylabels.core.opening import check_regular, may_pass
from noisylabels.core.schema import Limits, Positive, Size, checked

if TYPE_CHECKING:
    from torch import Tensor, nn

    from noisylabels.data.features import Examples
    from noisylabels.data.pixel_range import White


class _Stored(TypedDict):
    dtype: str
    shape: list[int]
    data_offsets: Annotated[list[int], Limits(min_length=2, max_length=2)]


Header = TypedDict("Header", {"__metadata__": dict[str, str]}, total=False, extra_items=_Stored)  # type: ignore[misc]
"""The header of a file of safetensors: where each tensor is."""


class Shape(TypedDict):
    """The arguments of `build_model`."""

    name: str
    channels: Positive
    image_size: Size
    num_classes: Positive
    width: Annotated[float, Limits(gt=0)]


class Images(TypedDict):
    """The images that a frozen encoder takes."""

    channels: Positive
    image_size: Size


class _Embedding(TypedDict):
    name: str


class _Model(TypedDict):
    shape: Shape
    class_names: list[str]
    mean: list[float]
    std: list[Annotated[float, Limits(gt=0)]]


class About(_Model, total=False):
    """What a model file says beside its weights, see `SavedModel`."""

    power: Annotated[float, Limits(gt=0)]
    encoder: dict[str, Any]  # `Encoder.of_json` checks it
    embedding: _Embedding
    images: Images
    white: Annotated[list[Annotated[float, Limits(ge=0)]], Limits(min_length=2, max_length=2)]
    sha256: str


@dataclass(frozen=True, eq=False)
class SavedModel:
    """The content of a model file.

    Args:
        shape: the arguments of `build_model`.
        class_names: K names.
        mean, std: one per channel or column, to normalize inputs with.
        encoder: `Encoder.to_json` of a table's columns; None for images.
        embedding: the identity of the frozen encoder whose features the model takes; None without one.
        images: channels and image_size, (height, width), of the images that it encodes; None without any.
        weights: the model's state, by name.
        fitted: what the frozen encoder has learned from training texts, `FeatureSet.fitted`.
        power: the exponent that makes the model's probabilities those of the true class.
        white: `ImageSet.white` of the training images; also None in a file of an earlier version.
        digest: see `digest_of`; the file has been compared with it. "" in a file of an earlier version.
    """

    shape: dict[str, Any]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    encoder: dict[str, Any] | None
    weights: dict[str, Tensor]
    embedding: dict[str, Any] | None = None
    images: dict[str, Any] | None = None
    fitted: dict[str, Tensor] = field(default_factory=dict)
    power: float = 1.0
    white: White | None = None
    digest: str = ""


_HEADER = "noisylabels"  # the one key of the metadata: safetensors writes several in a random order
_DIGEST = "sha256"
_FITTED = "frozen encoder:"  # before the names of an encoder's tensors; a module's names have no colon


def digest_of(weights: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Return the sha256 of tensors on the CPU and of a header without its own, in hexadecimal."""
    import torch

    about = {name: value for name, value in header.items() if name != _DIGEST}
    sha = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(weights):
        value = weights[name].contiguous()
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def save_model(
    path: Path, model: nn.Module, shape: dict[str, Any], train: Examples, power: float | None = None
) -> str:
    """Write the weights and the header of a trained model, atomically, and return their `digest_of`.

    Args:
        path: the file.
        model: the trained model.
        shape: the arguments of `build_model` that it was built with.
        train: the set that it was trained on, for class names, normalization, a table's encoder and the
            identity of a frozen encoder.
        power: see `SavedModel`; None if it was not estimated.

    The normalization is the model's own, of its pretrained weights, or else that of the set.
    """
    from safetensors.torch import save

    from noisylabels.models.normalization import normalization_of

    own = normalization_of(model, shape["channels"]) if train.inputs.ndim == 4 else None
    mean, std = own or train.mean_std()
    header: dict[str, Any] = {"shape": shape, "class_names": train.class_names, "mean": mean, "std": std}
    if power is not None:
        header["power"] = power
    if (encoder := getattr(train, "encoder", None)) is not None:
        header["encoder"] = encoder.to_json()
    if (embedding := getattr(train, "embedding", None)) is not None:
        header["embedding"] = dict(embedding)
    source: Any = train
    if (images := getattr(train, "images", None)) is not None and train.inputs.ndim == 2:
        source, (channels, *size) = images, images.images.shape[1:]
        header["images"] = {"channels": channels, "image_size": size}
    if (white := getattr(source, "white", None)) is not None:
        header["white"] = list(white)
    # clones, because a user-defined model may share one tensor under two names, and the file format may not
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    weights |= {f"{_FITTED}{name}": value.clone() for name, value in getattr(train, "fitted", {}).items()}
    digest = header[_DIGEST] = digest_of(weights, header)
    with atomic_replace(path) as temporary:  # not safetensors' save_file, so that a full disk raises OSError
        temporary.write_bytes(save(weights, metadata={_HEADER: json.dumps(header)}))
    return digest


def read_model(path: Path) -> SavedModel:
    """Return the model that `save_model` wrote.

    Raises:
        InputError: the file is damaged or no model file.
        OSError: it cannot be read for another reason, such as a network drive that is away.
    """
    from safetensors import SafetensorError, safe_open

    from noisylabels.data.pixel_range import White

    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[_HEADER]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if isinstance(error, OSError) and may_pass(error):
            raise
        raise damaged(path) from None
    found = parse_json(text, path, _AGAIN)
    header = checked(found, About, path, _AGAIN)
    digest = header.get(_DIGEST, "")
    if digest and digest != digest_of(weights, found):
        raise InputError(
            f"{path} is damaged: its weights do not match their checksum; restore it, or {_AGAIN}"
        )
    shape = header["shape"] | {"image_size": tuple(header["shape"]["image_size"])}
    names, mean, std = (tuple(header[name]) for name in ("class_names", "mean", "std"))
    inputs = (shape["channels"], *shape["image_size"])  # of a table: (1, 1, columns)
    if len(names) != shape["num_classes"] or len(mean) != len(std) or len(mean) not in (inputs[0], inputs[2]):
        raise damaged(path)
    fitted = {name: weights.pop(name) for name in list(weights) if name.startswith(_FITTED)}
    fitted = {name.removeprefix(_FITTED): value for name, value in fitted.items()}
    encoder, embedding, images = (header.get(name) for name in ("encoder", "embedding", "images"))
    power = float(header.get("power", 1.0))
    white = White(*header["white"]) if "white" in header else None
    return SavedModel(
        shape, names, mean, std, encoder, weights, embedding, images, fitted, power, white, digest
    )


_AGAIN = "train it again"


def damaged(path: Path) -> InputError:
    """Return the error for a file without a model."""
    return InputError(f"{path} is damaged or not a noisylabels model; {_AGAIN}")
