"""The paper's Figures 1, 2 and 9 as diagrams, drawn from the catalog's losses and the network's layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from noisylabels.losses import LOSSES, PAPER, loss
from noisylabels.losses.categories import is_passive, parts
from noisylabels.losses.explain import explain
from noisylabels.models import build_model
from noisylabels.report.diagram import QUIET, Canvas, Diagram
from noisylabels.study.looks import loss_look

WIDTH = 560
"""Width of a diagram in pixels: on a telephone of 390 pixels its text is still read."""

EXAMPLE = (0.55, 0.25, 0.15, 0.05)
"""The prediction of Figure 1's example."""

GIVEN = 1
"""Its given label, as an index."""


def diagrams() -> list[Diagram]:
    """Return the diagrams in the order of the paper."""
    return [normalization(), framework(), network()]


def costs(name: str) -> list[float]:
    """Return the loss of the example under each label.

    >>> [round(cost, 3) for cost in costs("nmae")]
    [0.15, 0.25, 0.283, 0.317]
    """
    logits = torch.tensor([EXAMPLE] * len(EXAMPLE), dtype=torch.float64).log()
    found: list[float] = loss(name, reduction="none")(logits, torch.arange(len(EXAMPLE))).tolist()
    return found


def normalization(base: str = "ce") -> Diagram:
    """Return Figure 1: what Eq. 1 computes, with the numbers of an example."""
    plain, normalized = costs(base), costs(f"n{base}")
    canvas = Canvas(WIDTH, 300, f"Normalization of {base}: each label's cost over the sum of all costs")
    columns = (
        (90, "prediction p_j", EXAMPLE, "#5b7fb5", 2),
        (245, f"{base} under label j", plain, loss_look(base).color, 3),
        (405, f"n{base}: divided by Σ", normalized, loss_look(f"n{base}").color, 3),
    )
    canvas.box(8, 58 + 40 * GIVEN, WIDTH - 16, 36)
    canvas.text(18, 34, "label j", at="start", bold=True)
    for place in range(len(EXAMPLE)):
        given = "  = y" if place == GIVEN else ""
        canvas.text(18, 76 + 40 * place, f"{place + 1}{given}", at="start", bold=bool(given))
    for x, head, values, color, digits in columns:
        canvas.text(x, 34, head, at="start", bold=True)
        for place, value in enumerate(values):
            length = 90 * value / max(values)
            canvas.bar(x, 67 + 40 * place, length, 18, color)
            canvas.text(x + length + 6, 76 + 40 * place, f"{value:.{digits}f}", at="start")
        canvas.text(x, 246, f"Σ = {sum(values):.3f}".replace("1.000", "1"), at="start")
    canvas.line((14, 226), (WIDTH - 14, 226), color="#bbbbbb")
    canvas.text(
        WIDTH / 2,
        278,
        f"loss of the given label: {plain[GIVEN]:.3f} / {sum(plain):.3f} = {normalized[GIVEN]:.3f}",
        bold=True,
    )
    return Diagram(
        "eq1-normalization",
        "Loss normalization (Eq. 1)",
        f"The loss of a label is divided by the sum of the losses of all labels, here {LOSSES[base].title} "
        f"of one example with {len(EXAMPLE)} classes. The sum of {base} depends on the prediction; that of "
        f"n{base} is 1 for every prediction: the normalized loss is symmetric, hence noise-tolerant.",
        canvas.svg(),
    )


def terms_of_the_paper() -> tuple[list[str], list[str]]:
    """Return the active and the passive terms of the paper's sums.

    >>> terms_of_the_paper()
    (['nce', 'nfl'], ['mae', 'rce'])
    """
    terms = dict.fromkeys(part for name in PAPER for part in parts(name) if len(parts(name)) > 1)
    return [term for term in terms if not is_passive(term)], [term for term in terms if is_passive(term)]


def framework() -> Diagram:
    """Return Figure 2: what Eq. 2 computes, with the terms that the paper combines."""
    active, passive = terms_of_the_paper()
    canvas = Canvas(WIDTH, 424, "Active Passive Loss: a weighted sum of an active and a passive term")
    canvas.box(10, 12, 100, 44, ["image x"], "input")
    canvas.box(170, 12, 130, 44, ["network f_θ"])
    canvas.box(360, 12, 190, 44, ["probabilities p(k|x)"])
    canvas.arrow((110, 34), (168, 34))
    canvas.arrow((300, 34), (358, 34))
    canvas.box(10, 76, 100, 36, ["label y"], "input")
    # p and y go to both terms
    canvas.line((455, 56), (455, 94), (110, 94))
    halves = ((10, "active term", active, "active", "α"), (290, "passive term", passive, "passive", "β"))
    for x, title, names, kind, weight in halves:
        middle = x + 130
        canvas.arrow((middle, 94), (middle, 134))
        canvas.box(x, 136, 260, 172, kind=kind)
        canvas.text(middle, 154, title, bold=True)
        canvas.text(middle, 173, _effect(kind), size=12.5, color=QUIET)
        for place, name in enumerate(names):
            _equation(canvas, x + 12, 210 + 62 * place, name)
        canvas.arrow((middle, 308), (middle, 362))
        canvas.text(middle + 10, 334, f"× {weight}", at="start", bold=True)
    canvas.box(10, 364, 540, 50, kind="sum")
    weights = "α = β = 1 in the paper" if _equal_weights() else "weights differ in the paper"
    canvas.text(WIDTH / 2, 389, f"L_{{APL}} = α L_{{active}} + β L_{{passive}},  {weights}", bold=True)
    return Diagram(
        "eq2-active-passive",
        "Active Passive Loss (Eq. 2)",
        f"The paper's sums take one of the active terms {' and '.join(active)} and one of the passive terms "
        f"{' and '.join(passive)}. Here any losses can be the terms, and their number is free.",
        canvas.svg(),
    )


def _effect(kind: str) -> str:
    """Return what a kind of term does, as the catalog defines it."""
    return {"active": "explicitly raises p_y only", "passive": "lowers the other p_k too"}[kind]


def _equal_weights() -> bool:
    sums = [loss(name).terms for name in PAPER if len(parts(name)) > 1]
    return all(term.weight == 1 for terms in sums for term in terms)


def _equation(canvas: Canvas, x: float, y: float, name: str) -> None:
    """Write a loss's name and value, a quotient as a fraction; y is the middle."""
    canvas.text(x, y, name, at="start", bold=True)
    over, _, under = explain(loss(name), 10)["value at label y"].replace("^gamma", "^γ").partition(" / ")
    left = x + 42
    if not under:
        canvas.text(left, y, over, at="start")
        return
    over = over.strip("[]")
    width = 7.2 * max(len(over), len(under))
    canvas.text(left + width / 2, y - 12, over)
    canvas.line((left, y + 1), (left + width, y + 1), color="#222222", width=1)
    canvas.text(left + width / 2, y + 14, under)


# The network --------------------------------------------------------------------------------------


@dataclass
class Block:
    """Layers that are drawn in one row.

    Args:
        layers: lines of text per layer.
        shape: of the output of one image.
        parameters: their number.
    """

    layers: list[list[str]] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    parameters: int = 0


def blocks(model: nn.Sequential, image: tuple[int, int, int]) -> Iterator[Block]:
    """Yield the rows of a network of layers in sequence: one ends at each pool and each linear layer.

    Args:
        model: the network.
        image: (channels, height, width).
    """
    block, x = Block(), torch.zeros((2, *image))
    children = list(model.children())
    for place, layer in enumerate(children):
        x = layer(x)
        leaves = [leaf for leaf in layer.modules() if not list(leaf.children())]
        for leaf in leaves:
            text, begins = _text(leaf)
            if begins:
                block.layers.append([text])
            else:
                block.layers[-1].append(text)
        block.shape, block.parameters = tuple(x.shape[1:]), block.parameters + _count(layer)
        following = children[place + 1] if place + 1 < len(children) else None
        ends = isinstance(layer, nn.MaxPool2d | nn.Flatten) or following is None
        if ends or isinstance(following, nn.Linear):
            yield block
            block = Block()


def _count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def _text(leaf: nn.Module) -> tuple[str, bool]:
    """Return a layer in words, and whether it begins a box of its own."""
    if isinstance(leaf, nn.Conv2d):
        size = "×".join(map(str, leaf.kernel_size))
        return f"{size} conv, {leaf.out_channels}", True
    if isinstance(leaf, nn.MaxPool2d):
        return f"{leaf.kernel_size}×{leaf.kernel_size} max pool", True
    if isinstance(leaf, nn.Linear):
        return f"linear, {leaf.out_features}", True
    if isinstance(leaf, nn.BatchNorm1d | nn.BatchNorm2d):
        return "BN", False
    names = {nn.ReLU: ("ReLU", False), nn.Flatten: ("flatten", True)}
    if type(leaf) not in names:
        raise TypeError(f"the diagram has no words for a layer of the type {type(leaf).__name__}")
    return names[type(leaf)]


def network(name: str = "cnn8", image: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> Diagram:
    """Return Figure 9: the layers of a network, with the shape and parameters after each row."""
    model = build_model(name, channels=image[0], image_size=image[1:], num_classes=classes).eval()
    assert isinstance(model, nn.Sequential)
    rows = list(blocks(model, image))
    canvas = Canvas(WIDTH, 96 + 78 * len(rows), f"The layers of {name}")
    canvas.text(390, 20, "output", at="start", bold=True)
    canvas.text(WIDTH - 8, 20, "parameters", at="end", bold=True)
    canvas.box(10, 36, 352, 34, ["image"])
    canvas.text(390, 53, _shape(image), at="start")
    y = 70.0
    for row in rows:
        canvas.arrow((186, y), (186, y + 20))
        y += 22
        _row(canvas, y, row)
        canvas.text(390, y + 28, _shape(row.shape), at="start")
        canvas.text(WIDTH - 8, y + 28, f"{row.parameters:,}" if row.parameters else "", at="end")
        y += 56
    canvas.text(WIDTH - 8, y + 14, f"{_count(model):,} in all", at="end", bold=True)
    kinds = [type(leaf) for leaf in model.modules()]
    deep = kinds.count(nn.Conv2d) + kinds.count(nn.Linear)
    return Diagram(
        "network",
        f"The network {name}",
        f"{deep} layers with weights: {kinds.count(nn.Conv2d)} convolutions and {kinds.count(nn.Linear)} "
        f"linear layers, for images of {_shape(image)} and {classes} classes; BN is batch normalization. The "
        "paper does not give the widths; these are those of the code of Ma et al. 2020.",
        canvas.svg(),
    )


def _row(canvas: Canvas, y: float, row: Block) -> None:
    """Draw the boxes of a row beside each other."""
    gap = 8
    width = (352 - gap * (len(row.layers) - 1)) / len(row.layers)
    for place, (first, *others) in enumerate(row.layers):
        weighted = "conv" in first or "linear" in first
        lines = [first, ", ".join(others)] if others else [first]
        canvas.box(10 + place * (width + gap), y, width, 54, lines, "input" if weighted else "plain")


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
