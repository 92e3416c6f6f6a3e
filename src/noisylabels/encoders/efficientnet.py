"""The packaged encoder of photographs: EfficientNet-Lite0 with ImageNet weights, a pip package of 17 MB."""

from __future__ import annotations

from pathlib import Path

import torch

from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.encoders.image_network import ImageNetwork
from noisylabels.encoders.names import INSTALL
from noisylabels.encoders.preprocessing import Preprocessing
from noisylabels.models import efficientnet_lite as lite

SIZE_OF_SMALL = 160
"""Side of the input for images smaller than `SMALL`; CIFAR's photographs gain nothing at 224."""
SMALL = 96


def efficientnet_lite0(
    name: str,
    *,
    size: int | None,
    weights: Path | None,
    image_side: int | None,
    device: torch.device,
    precision: str,
) -> ImageNetwork:
    """Return the encoder.

    Args:
        name: what the user has written, for messages; in records it has the size.
        size: side of its input; by default 224, the side of its training images, and 160 for images of fewer
            than 96 pixels.
        weights: a file of weights in place of the package's.
        image_side: shorter side of the images.
        device, precision: see `ImageNetwork`.

    Raises:
        InputError: the package is not installed, or the file is none of weights.
    """
    path = weights or lite.packaged_weights()
    if path is None:
        raise InputError(f"the encoder {name!r} needs its weights: {INSTALL} (17 MB)")
    if size is None:
        size = SIZE_OF_SMALL if image_side is not None and image_side < SMALL else lite.SIZE
    network = lite.EfficientNetLite0()
    lite.load_weights(network, path, classifier=False)
    frozen = lite.folded(network)
    own = "" if weights is None else f",weights={weights}"
    return ImageNetwork(
        f"{lite.NAME}@{size}{own}",
        frozen,
        Preprocessing(size, lite.MEAN, lite.STD),
        {"weights": file_digest(path)},
        dimension=lite.FEATURES,
        features=frozen.features,  # type: ignore[arg-type]
        device=device,
        precision=precision,
    )
