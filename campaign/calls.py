"""Generators that call a reader directly: pickles, parsers of small languages, values in memory."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from campaign.cases import Case, Place, generator
from campaign.draw import ODD_NUMBERS, Draw
from campaign.tensors import Planted


class OldPickler(pickle._Pickler):  # type: ignore[misc,name-defined]
    """A pickler that writes as Python 2 did, as the published batches are: byte strings, protocol 2."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, value: Any) -> None:
        """Write a text or bytes as a string of Python 2."""
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def old_pickle(value: Any) -> bytes:
    """Return a pickle as Python 2 wrote it."""
    buffer = io.BytesIO()
    OldPickler(buffer, 2).dump(value)
    return buffer.getvalue().replace(b"numpy._core", b"numpy.core")


def spoiled_pickle(draw: Draw, place: Place) -> bytes:
    """Return a pickle of a batch as CIFAR's authors wrote it: sound, damaged, or with code planted in it."""
    data = np.zeros((3, 3072), np.uint8)
    batch: dict[Any, Any] = {
        b"data": data,
        b"labels": [0, 1, 2],
        b"batch_label": b"x",
        b"filenames": [b"a", b"b", b"c"],
    }
    way = draw.randrange(7)
    if way == 0:
        batch[b"labels"] = draw.choice(([0, 1], [0, 1, 99], [0.5] * 3, None, np.arange(3), "abc"))
    if way == 1:
        batch[draw.choice((b"data", b"labels", b"x"))] = Planted(place.marker)
    protocol = draw.choice((0, 1, 2, 4, 5))
    content = old_pickle(batch) if draw.chance(0.8) else pickle.dumps(batch, protocol)
    if way == 2:
        content = draw.damaged(content)
    if way == 3:
        text = f"cos\nsystem\n(S'touch {place.marker}'\ntR."
        content = draw.choice(
            (
                text.encode(),
                b"c__builtin__\neval\n(S'1'\ntR.",
                b"(" * 5000,
                b"\x80\x02]q\x00h\x00a.",
                b"cnumpy\nload\n(tR.",
            )
        )
    return content


@generator("CIFAR pickle", 2)
def cifar(draw: Draw, place: Place) -> Case:
    """Read a batch of CIFAR-10."""
    from noisylabels.data.cifar import CIFAR10

    content = spoiled_pickle(draw, place)

    def call() -> int:
        CIFAR10._batch(content, "data_batch_1")
        return 0

    return Case(call=call)


def strategies() -> dict[str, Any]:
    """Return Hypothesis's strategies of the arguments of functions in memory."""
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp

    cells = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3)
    )
    lists = st.lists(cells, max_size=8)
    arrays = hnp.arrays(
        st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes(max_len=4)),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    )
    return {
        "any": st.one_of(lists, arrays, cells, st.dictionaries(st.text(max_size=3), lists, max_size=3)),
        "text": st.text(max_size=30),
    }


def drawn(draw: Draw, strategy: Any) -> Any:
    """Return one example of a Hypothesis strategy, by the case's own random stream."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    found: list[Any] = []

    @seed(draw.getrandbits(32))
    @settings(
        max_examples=4,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found[-1]


@generator("values in memory", 2)
def values(draw: Draw, place: Place) -> Case:
    """Call a function of the package with values of any kind, usual and drawn by Hypothesis."""
    import noisylabels as nl

    kinds = strategies()
    n = draw.choice((0, 1, 9, 20))
    probs: Any = np.random.default_rng(draw.number).dirichlet(np.ones(3), n)
    labels: Any = [draw.choice((0, 1, 2)) for _ in range(n)]
    if draw.chance(0.3):
        probs = drawn(draw, kinds["any"])
    if draw.chance(0.4):
        labels = drawn(draw, kinds["any"])
    if draw.chance(0.1) and isinstance(labels, list) and labels:
        labels[0] = draw.choice((*ODD_NUMBERS, None, "x", []))
    seed = draw.often(lambda: 0, lambda: draw.choice((None, -1, 2**70, "x", 0.5)))
    calls: list[Callable[[], Any]] = [
        lambda: nl.rank(labels, probs),
        lambda: nl.corrupt(labels, "symmetric:0.4", seed=seed),
        lambda: nl.corrupt(labels, "pairflip:0.2 | longtail:0.5", seed=seed),
        lambda: nl.audit_labels((probs, labels), classifier="logistic", folds=2),
        lambda: nl.load((probs, labels)),
    ]
    chosen = draw.choice(calls)

    def call() -> int:
        chosen()
        return 0

    return Case(call=call)


@generator("words of a parser", 2)
def words(draw: Draw, place: Place) -> Case:
    """Parse texts drawn by Hypothesis as expressions, specs, durations, shards and settings."""
    from noisylabels.losses.expression import read_terms
    from noisylabels.noise.spec import NoiseSpec
    from noisylabels.study.grid import read_flags, read_only
    from noisylabels.study.plan import read_seconds, shard

    text = drawn(draw, strategies()["text"])
    parsers: list[Callable[[], Any]] = [
        lambda: read_terms(text),
        lambda: NoiseSpec.parse(text),
        lambda: read_seconds(text),
        lambda: shard([1, 2, 3], text),
        lambda: read_flags([text]),
        lambda: read_only([text]),
    ]

    def call() -> int:
        for parser in parsers:
            try:
                parser()
            except ValueError as error:
                if type(error).__name__ != "InputError":
                    raise
        return 0

    return Case(call=call)
