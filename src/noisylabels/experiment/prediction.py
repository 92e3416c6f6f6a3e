"""Predictions of a trained model for images or rows of a table."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisylabels.core.checks import InputError
from noisylabels.core.files import check_file
from noisylabels.core.schema import read_checked
from noisylabels.experiment.documents import Result
from noisylabels.experiment.folder import read_result
from noisylabels.training.weights_file import SavedModel, damaged, read_model

if TYPE_CHECKING:
    from torch import Tensor, nn

    from noisylabels.data.decode import Progress
    from noisylabels.data.encoding import Encoder
    from noisylabels.data.pixel_range import White
    from noisylabels.data.pixel_source import Pixels
    from noisylabels.encoders.encoder import FrozenEncoder


@dataclass(frozen=True)
class Trained:
    """A trained model in evaluation mode, with the preprocessing of its inputs."""

    model: nn.Module
    shape: dict[str, Any]  # the arguments of build_model
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    encoder: Encoder | None = None  # of a table's columns; None for images
    frozen: FrozenEncoder | None = None  # whose features the model takes; None without one
    images: Mapping[str, Any] | None = None  # channels and image_size of the images it encodes
    power: float = 1.0  # exponent that makes its probabilities those of the true class
    white: White | None = None  # `ImageSet.white` of the training images


def load_model(
    run: Path, device: str = "auto", model: str | None = None, features: str | None = None
) -> Trained:
    """Return the model of a finished run (its folder, or its model.safetensors).

    Args:
        run: the folder or file.
        device: "auto", "cpu", "cuda".
        model: the name or function that builds the network, in place of the one that the run recorded. A run
            with a user-defined model (``module:function``) needs it: a folder may come from a stranger, and
            code that it names is imported only if the caller names it too.
        features: the encoder that the run recorded, needed if it is user-defined code, likewise, or if its
            file of weights has moved.

    Raises:
        InputError: no such run, an unfinished or failed run, a damaged file; a user-defined model that is not
            named, is missing, or differs from the trained one.
    """
    from noisylabels.core.device import pick_device
    from noisylabels.data.encoding import Encoder
    from noisylabels.models.catalog import build_model, is_user_model, untrained

    path = run / "model.safetensors" if run.is_dir() else run
    if not path.exists():
        if (run / "result.json").exists() and read_result(run).status == "done":
            raise InputError(
                f"{run} is done but has no weights, {path.name}: they were removed, or the result came from "
                "an exported file; train again in another folder"
            )
        if (run / "config.json").exists():
            raise InputError(
                f"{run} has not finished or has failed: it has no {path.name}; "
                "repeat its `noisylabels train` command to resume it or to see why it failed"
            )
        again = f"noisylabels train --out {shlex.quote(str(run))}"
        raise InputError(f"{run} is not the folder of a run; train one with `{again}`")
    where = pick_device(device)
    saved = read_model(path)
    _check_recorded(saved, path)
    try:
        recorded = saved.shape["name"]
        if model is None and is_user_model(recorded):
            raise InputError(
                f"the model of {path} is user-defined code, {recorded!r}, which must run to load it; "
                f"if you trust that code, pass --model {shlex.quote(recorded)}"
            )
        if not is_user_model(recorded):
            _check_claims(saved)
        network = build_model(**saved.shape | {"name": untrained(model or recorded)})
        if model is not None and (unlike := _difference(network, saved.weights)):
            raise InputError(f"the model {model!r} is not the one trained in {path}: {unlike}")
        network.load_state_dict(saved.weights)
        encoder = None if saved.encoder is None else Encoder.of_json(saved.encoder)
    except InputError:
        raise
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError):
        raise damaged(path) from None
    network = network.to(where).eval()
    frozen = None if saved.embedding is None else encoder_of(saved, device, path, features)
    return Trained(
        network,
        saved.shape,
        saved.class_names,
        saved.mean,
        saved.std,
        encoder,
        frozen,
        saved.images,
        saved.power,
        saved.white,
    )


def encoder_of(saved: SavedModel, device: str, path: Path, features: str | None = None) -> FrozenEncoder:
    """Return the frozen encoder that computed the features of a model's training set.

    Args:
        saved: the model's file, which has the identity of its encoder.
        device: "auto", "cpu", "cuda".
        path: what an error calls the model.
        features: see `load_model`.

    Raises:
        InputError: it is not installed, it is code that the caller has not named, or it has other weights or
            another preprocessing by now.
    """
    from noisylabels.encoders.catalog import check_user_code, find_encoder

    embedding, images = saved.embedding or {}, saved.images
    try:
        name, precision = embedding["name"], embedding.get("precision", "auto")
        side = None if images is None else min(images["image_size"])
    except (KeyError, TypeError, ValueError):
        raise damaged(path) from None
    check_user_code(str(name), features, path)
    # a name of the caller's may lead to the same weights at another place
    found = find_encoder(features or name, image_side=side, device=device, precision=precision)
    found = found.with_state(saved.fitted) if saved.fitted else found
    for field, was in embedding.items():
        if field == "name" and features is not None:
            continue
        if found.identity.get(field) != was:
            raise InputError(
                f"{path} was trained on features of {name!r}, whose {field} has changed since; restore it, "
                "or train again"
            )
    return found


def _check_recorded(saved: SavedModel, path: Path) -> None:
    """Raise an `InputError` if the run in the folder of a model file recorded other weights."""
    result = path.parent / "result.json"
    recorded = read_checked(result, Result).get("weights") if result.exists() else None
    if recorded not in (None, saved.digest):  # earlier versions recorded none
        raise InputError(
            f"{path} holds other weights than those that the run recorded in result.json; restore it, or "
            "train again in another folder"
        )


def _check_claims(saved: SavedModel) -> None:
    """Raise a `ValueError` if the network that a file describes is not that of its weights.

    The network is built without memory: a header of a few bytes can claim one of terabytes.
    """
    import torch

    from noisylabels.models.catalog import FITTED, build_model, untrained

    if saved.shape["name"] in FITTED:  # as large as the weights themselves
        return
    with torch.device("meta"):
        network = build_model(**saved.shape | {"name": untrained(saved.shape["name"])})
    if unlike := _difference(network, saved.weights):
        raise ValueError(unlike)


def _difference(network: nn.Module, weights: dict[str, Tensor]) -> str:
    """Return a description of how the weights do not match the network; "" if they do."""
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name, value in weights.items():
        if shapes.get(name) != tuple(value.shape):
            return f"its {name} is {shapes.get(name, 'missing')}, the trained one's {tuple(value.shape)}"
    missing = next((name for name in shapes if name not in weights), None)
    return f"it has {missing}, which the trained one lacks" if missing else ""


def predict(trained: Trained, images: Pixels) -> Tensor:
    """Return class probabilities (N, K) float32 on the CPU for uint8 images (N, C, H, W) or a source of them.

    For a model trained on a table, `images` are encoded rows, float32 (N, D). If the run compared its
    candidates on held-out rows, as runs on features do, the probabilities are calibrated for the label noise:
    softmax(power * logits) estimates the probability of the true class. Otherwise they are the softmax of the
    logits, and estimate that of the given label, noise included.

    Raises:
        InputError: images or rows of another type or size than the model was trained on.
    """
    import torch

    from noisylabels.core.device import first_tensor
    from noisylabels.data.augment import normalize
    from noisylabels.data.loader import evaluation_batch_size
    from noisylabels.data.pixel_source import pieces

    wanted = (trained.shape["channels"], *trained.shape["image_size"])
    columns = len(trained.mean)
    if wanted == (1, 1, columns) and images.ndim == 2:
        if images.dtype != torch.float32 or images.shape[1] != columns:
            raise InputError(
                f"rows are {images.dtype} of shape {tuple(images.shape)}, expected torch.float32 "
                f"(N, {columns})"
            )
    elif images.dtype != torch.uint8 or tuple(images.shape[1:]) != wanted:
        raise InputError(
            f"images are {images.dtype} of shape {tuple(images.shape)}, expected torch.uint8 (N, "
            f"{', '.join(map(str, wanted))})"
        )
    device = first_tensor(trained.model).device
    parts = []
    with torch.inference_mode():
        for batch in pieces(images, evaluation_batch_size(images)):
            logits = trained.model(normalize(batch.to(device), trained.mean, trained.std))
            parts.append((trained.power * logits.float()).softmax(1).cpu())
    return torch.cat(parts)


def predict_files(
    trained: Trained,
    sources: Sequence[Path],
    bad_images: str = "fail",
    notes: list[str] | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], Tensor]:
    """Return the names (N) and class probabilities (N, K) of image files and folders of them.

    Skipped files are reported as lines added to `notes`; `progress` is that of `encode`.
    """
    from noisylabels.data.decode import read_images

    shape = trained.shape if trained.images is None else trained.images
    images, ids = read_images(
        sources,
        channels=shape["channels"],
        image_size=tuple(shape["image_size"]),
        bad_images=bad_images,
        notes=notes,
        trained=trained.white,
    )
    if trained.frozen is None:
        return list(ids), predict(trained, images)
    from noisylabels.encoders.embedding import encode

    note = (lambda _: None) if notes is None else notes.append
    return list(ids), predict(trained, encode(images, trained.frozen, progress, note))


def predict_table(
    trained: Trained,
    path: Path,
    notes: list[str],
    id_column: str | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], Tensor]:
    """Return the ids (N) and class probabilities (N, K) of the rows of a table with the training columns.

    Remarks about the table's cells are added to `notes`; `id_column` is that of `read_rows`, and
    `progress` that of `encode`.

    Raises:
        InputError: a model trained on images; a table that cannot be read or has other columns.
    """
    import torch

    from noisylabels.data.feature_table import read_rows
    from noisylabels.data.text_columns import blank_note, without_text

    if trained.encoder is None:
        raise InputError(f"the model was trained on images, and {path} is a table; pass images")
    found = read_rows(check_file(path), trained.encoder, notes, id_column)
    rows = torch.from_numpy(found.features)
    if trained.frozen is None:
        return found.ids, predict(trained, rows)
    from noisylabels.encoders.embedding import encode

    if found.texts is None:
        raise InputError(f"the model was trained on texts, and {path} has no column of text")
    blank = without_text(found.texts)
    if blank.any() and not rows.shape[1]:
        notes.append(blank_note(found.ids, blank, "predicted from nothing; ignore the prediction"))
    encoded = encode(found.texts, trained.frozen, progress, notes.append)
    return found.ids, predict(trained, torch.cat([rows, encoded], dim=1))
