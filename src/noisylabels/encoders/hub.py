"""Files of the Hugging Face Hub: from its cache on this machine, or downloaded; offline is one error at once.

Only configuration and weights in safetensors are fetched, never pickle files or code.
"""

from __future__ import annotations

import importlib
import os
import socket
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError, one_line
from noisylabels.core.opening import check_files_below
from noisylabels.core.schema import read_checked

PATIENCE_SECONDS = 3.0
"""How long to wait for a connection before the hub counts as out of reach."""

PATTERNS = (
    "*.json",  # at the top level, and the pooling of sentence encoders
    "1_Pooling/config.json",
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "spiece.model",
    "sentencepiece*",
)


def hub_folder(name: str, encoder: str) -> Path:
    """Return the folder of a model: `name` itself if it is one, or its files on the hub.

    What the hub's cache on this machine has is used without asking the hub.

    Args:
        name: a folder, or a repository such as "facebook/dinov2-small".
        encoder: the name of the encoder, for errors.

    Raises:
        InputError: no such folder or repository; no connection; no weights in safetensors.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, encoder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"there is no folder {name} for the encoder {encoder!r}")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise InputError(
            f"the encoder {encoder!r} needs transformers, which is not installed: pip install transformers"
        ) from None
    if (found := _cached(hub, name)) is not None:
        return _checked(found, encoder)
    check_connection(encoder)
    try:
        return _checked(Path(hub.snapshot_download(name, allow_patterns=list(PATTERNS))), encoder)
    except InputError:
        raise
    except Exception as error:  # of the network, the hub or the disk
        raise InputError(
            f"the encoder {encoder!r} cannot be downloaded ({one_line(error)}); check its name and the "
            "connection, or pass a folder that holds it, hf:FOLDER"
        ) from None


def check_network(encoder: str, repository: str | None) -> None:
    """Raise an `InputError` if weights must be downloaded for an encoder and the hub is out of reach.

    Args:
        encoder: its name.
        repository: its repository on the hub; None if it comes from elsewhere.
    """
    if repository is None:
        return
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        return
    files = ("model.safetensors", "pytorch_model.bin")
    try:
        found = any(isinstance(hub.try_to_load_from_cache(repository, file), str) for file in files)
    except ValueError:  # not the name of a repository
        return
    if not found:
        check_connection(encoder)


def check_connection(encoder: str) -> None:
    """Raise an `InputError` within seconds if the hub cannot be reached."""
    start = f"the weights of the encoder {encoder!r} are not on this machine"
    if any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE):
        raise InputError(f"{start}, and {_named_offline()} forbids downloads; unset it, or pass a folder")
    where = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    proxy = urllib.request.getproxies().get(where.scheme)
    if proxy and not urllib.request.proxy_bypass(where.hostname or ""):
        where = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        port = where.port or (443 if where.scheme == "https" else 80)
        socket.create_connection((where.hostname or "", port), timeout=PATIENCE_SECONDS).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(
            f"{start}, and {where.hostname} cannot be reached ({reason}); connect once to download them, or "
            "use an encoder that is here (`noisylabels list encoders`)"
        ) from None


OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def _named_offline() -> str:
    return next(name for name in OFFLINE if os.environ.get(name))


def _cached(hub: Any, name: str) -> Path | None:
    """Return the folder of a repository in the hub's cache if its weights are complete there."""
    try:
        config = hub.try_to_load_from_cache(name, "config.json")
    except Exception:  # a name that no repository can have: the download says so
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if _complete(folder) else None


class _Index(TypedDict):
    weight_map: dict[str, str]


def _complete(folder: Path) -> bool:
    if (folder / "model.safetensors").exists():
        return True
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return False
    try:
        files = set(read_checked(index, _Index)["weight_map"].values())
    except InputError:
        return False
    return all((folder / file).exists() for file in files)


def check_model_files(folder: Path, encoder: str) -> None:
    """Raise an `InputError` if a folder of a model holds what is no file, such as a named pipe."""
    try:
        check_files_below(folder)
    except OSError as error:
        raise InputError(
            f"the encoder {encoder!r} cannot be loaded: {error.filename}: {error.strerror}"
        ) from None


def _checked(folder: Path, encoder: str) -> Path:
    """Return a folder that holds a model with its weights in safetensors."""
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} has no config.json, so it holds no model for the encoder {encoder!r}")
    check_model_files(folder, encoder)
    if _complete(folder):
        return folder
    pickled = next((path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)), "")
    beside = f" but {pickled}, a pickle file, which can run code" if pickled else ""
    raise InputError(
        f"the encoder {encoder!r} has no model.safetensors{beside}; use a model with weights in safetensors, "
        "or convert it with transformers' save_pretrained"
    )
