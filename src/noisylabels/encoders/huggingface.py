"""Encoders from the Hugging Face Hub or a folder, ``hf:NAME``: image models of transformers' AutoModel."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.schema import read_checked
from noisylabels.encoders.claimed_size import check_claims
from noisylabels.encoders.encoder import FrozenEncoder
from noisylabels.encoders.hub import hub_folder
from noisylabels.encoders.image_network import ImageNetwork
from noisylabels.encoders.import_hub import import_transformers, quiet
from noisylabels.encoders.processor_files import preprocessing_of
from noisylabels.encoders.sentence import is_sentence_model, sentence_encoder
from noisylabels.encoders.weights_digest import weights_digest

PROJECTED, POOLED, CLS, MEAN = "projection", "pooler", "cls", "mean"
"""How the outputs of a model become one row of features, see `pooling_of`."""


_AGAIN = "get the files of the model again"


def hub_encoder(
    name: str, model: str, *, size: int | None, device: torch.device, precision: str
) -> FrozenEncoder:
    """Return a pretrained model of transformers, for images or for texts.

    Args:
        name: the encoder's name in messages and records, such as "hf:facebook/dinov2-small".
        model: a repository on the hub, or a folder with config.json, model.safetensors and either
            preprocessor_config.json, for images, or the files of a tokenizer, for texts.
        size: side of the input of a model for images; by default that of its preprocessing.
        device, precision: see `ImageNetwork`.

    Raises:
        InputError: no such folder or repository; no connection; no weights in safetensors; a model that takes
            neither, or whose preprocessing is not supported; transformers is not installed.
    """
    folder = hub_folder(model, name)
    files = [path.name for path in folder.iterdir()]
    config = read_checked(folder / "config.json", dict[str, Any], _AGAIN, foreign=True)
    if not is_sentence_model(config, files):
        if not takes_images(folder):
            raise InputError(
                f"the encoder {name!r} has no preprocessor_config.json in {folder}, so it takes no "
                "images; use another model"
            )
        return hub_image_encoder(name, folder, size=size, device=device, precision=precision)
    if size is not None:
        raise InputError(f"the encoder {name!r} takes texts, which have no size; leave out @{size}")
    return sentence_encoder(name, folder, device=device, precision=precision)


def hub_image_encoder(
    name: str, folder: Path, *, size: int | None, device: torch.device, precision: str
) -> ImageNetwork:
    """Return the image model in a folder of transformers; the arguments are those of `hub_encoder`."""
    preprocessing = preprocessing_of(folder, size, name)
    network, untrained = load_pretrained(folder, name)
    pooling = pooling_of(network, untrained)
    pooled = _Pooled(network, pooling, resized=size is not None)
    with torch.inference_mode():
        try:
            found = pooled.eval()(torch.zeros(1, 3, preprocessing.size, preprocessing.size))
        except Exception as error:
            raise InputError(
                f"the encoder {name!r} does not take images of {preprocessing.size} pixels: {one_line(error)}"
            ) from None
    if found.ndim != 2:
        raise InputError(
            f"the encoder {name!r} returned {tuple(found.shape)} for an image, expected features (1, D)"
        )
    about = {"weights": weights_digest(network, untrained), "pooling": pooling}
    return ImageNetwork(
        name,
        pooled,
        preprocessing,
        about,
        dimension=found.shape[1],
        device=device,
        precision=precision,
    )


def takes_images(folder: Path) -> bool:
    """Return whether a folder of transformers holds a model for images, by its files."""
    return any((folder / file).exists() for file in ("preprocessor_config.json", "processor_config.json"))


def load_pretrained(folder: Path, name: str) -> tuple[nn.Module, frozenset[str]]:
    """Return the model in a folder, and the names of weights of its pooler that were not trained.

    No code from the folder runs, and only weights in safetensors are read.

    Args:
        folder: of `hub_folder`.
        name: the encoder's, for errors.

    Raises:
        InputError: transformers is not installed; the model cannot be loaded, or claims to be larger than
            its weights; other weights are missing.
    """
    transformers = import_transformers(name)
    try:
        with quiet(transformers):
            check_claims(folder, name, transformers)
            network, about = transformers.AutoModel.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except Exception as error:
        if isinstance(error, (MemoryError, InputError)):
            raise
        raise InputError(f"the encoder {name!r} cannot be loaded: {one_line(error)}") from None
    missing = frozenset(about["missing_keys"])
    # a classifier's checkpoint has no pooler: transformers draws one at random
    if other := sorted(key for key in missing if "pooler" not in key):
        raise InputError(
            f"the encoder {name!r} lacks {len(other)} of its weights, such as {other[0]}; get its files again"
        )
    return network, missing


def pooling_of(network: nn.Module, untrained: frozenset[str]) -> str:
    """Return how the outputs of a model become features.

    - a model of images and texts, such as CLIP: its image features, in the space that both share;
    - a model with a pooled output that was trained, such as DINOv2, ConvNeXt, ResNet or SigLIP: that output;
    - else a transformer with a class token: its last hidden state; any other: the mean of its hidden states.
    """
    if hasattr(network, "get_image_features"):
        return PROJECTED
    if not untrained and (hasattr(network, "pooler") or _has_module(network, "pooler", "head", "layernorm")):
        return POOLED
    has_token = any(name.rpartition(".")[2] == "cls_token" for name, _ in network.named_parameters())
    return CLS if has_token else MEAN


def _has_module(network: nn.Module, *names: str) -> bool:
    return any(name.rpartition(".")[2] in names for name, _ in network.named_modules())


class _Pooled(nn.Module):
    """A model of transformers as a function from pixels to features.

    Args:
        network: the model.
        pooling: of `pooling_of`.
        resized: whether the input has another size than the one trained on, so that position embeddings are
            interpolated.
    """

    def __init__(self, network: nn.Module, pooling: str, resized: bool) -> None:
        super().__init__()
        self.network, self.pooling = network, pooling
        call: Callable[..., Any] = network.forward
        if pooling == PROJECTED:
            call = network.get_image_features  # type: ignore[assignment]
        known = inspect.signature(call).parameters
        self.options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in known else {}
        if not resized:
            self.options = {}

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features of normalized images (B, 3, S, S): (B, D)."""
        if self.pooling == PROJECTED:
            found = self.network.get_image_features(pixel_values=pixels, **self.options)  # type: ignore[operator]
            made: Tensor = found if isinstance(found, Tensor) else found.pooler_output
            return made
        output = self.network(pixel_values=pixels, **self.options)
        pooled = getattr(output, "pooler_output", None)
        if self.pooling == POOLED and pooled is not None:
            return pooled.flatten(1)  # type: ignore[no-any-return]
        hidden: Tensor = output.last_hidden_state
        if hidden.ndim == 4:  # (B, D, H, W)
            return hidden.mean((2, 3))
        return hidden[:, 0] if self.pooling == CLS else hidden.mean(1)
