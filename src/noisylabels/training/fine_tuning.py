"""Fine-tuning: the last layer of a network apart from its body, which learns more slowly or later."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from noisylabels.core.checks import InputError


def last_layer(
    network: nn.Module, num_classes: int, who: str = "body_lr and frozen_epochs need"
) -> nn.Module:
    """Return the layer that computes the K logits.

    It is the one that `get_classifier` returns, which timm's models have, or else the last linear layer or
    convolution with K outputs. `who` begins the message of the error.

    Raises:
        InputError: the network has none.

    >>> last_layer(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 3)
    Linear(in_features=8, out_features=3, bias=True)
    """
    classifier = getattr(network, "get_classifier", None)
    found = classifier() if callable(classifier) else None
    if isinstance(found, nn.Module) and any(True for _ in found.parameters()):
        return found
    for module in reversed(list(network.modules())):
        outputs = getattr(module, "out_features", getattr(module, "out_channels", None))
        if isinstance(module, nn.Linear | nn.Conv2d | nn.LazyLinear) and outputs == num_classes:
            return module
    raise InputError(
        f"{who} a last layer with {num_classes} outputs, and the model "
        f"{type(network).__name__} has none; give it a method get_classifier that returns its last layer"
    )


class Body:
    """All layers of networks but their last ones.

    Args:
        networks: the networks of a method. Those that the method has initialized anew have no body: all of
            their layers learn from the start.
        num_classes: K.
    """

    def __init__(self, networks: Iterable[nn.Module], num_classes: int) -> None:
        self.modules: list[nn.Module] = []
        self.parameters: list[nn.Parameter] = []
        heads: set[int] = set()
        for network in networks:
            if is_new(network):
                continue
            head = last_layer(network, num_classes)
            inside = {id(module) for module in head.modules()}
            heads |= {id(parameter) for parameter in head.parameters()}
            self.modules += [
                module
                for module in network.modules()
                if id(module) not in inside and not any(id(child) in inside for child in module.modules())
            ]
            self.parameters += [p for p in network.parameters() if p.requires_grad and id(p) not in heads]
        self.parameters = list(dict.fromkeys(self.parameters))

    def freeze(self, frozen: bool) -> None:
        """Freeze or free the body for an epoch; frozen, its batch normalization and dropout do not train."""
        for parameter in self.parameters:
            parameter.requires_grad_(not frozen)
        if frozen:
            for module in self.modules:
                module.training = False


def freeze_statistics(network: nn.Module, new: Iterable[nn.Module] = ()) -> None:
    """Let batch normalization use its running statistics and keep them; its weight and bias still learn.

    Args:
        network: the network, or a module with several.
        new: modules initialized anew, whose statistics are those of no data yet, and learn.
    """
    learning = {id(module) for each in new for module in each.modules()}
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None and id(module) not in learning:
            module.training = False


def mark_new(network: nn.Module) -> None:
    """Mark a network whose layers were initialized anew, and thereby the copies made of it."""
    network.initialized_anew = True  # type: ignore[assignment]


def is_new(module: nn.Module) -> bool:
    """Return whether `mark_new` has marked a network."""
    return bool(getattr(module, "initialized_anew", False))
