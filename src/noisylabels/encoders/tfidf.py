"""TF-IDF of words and parts of words, reduced by a truncated SVD: the encoder of texts that is always there.

It is fitted to the training texts alone, without their labels. What it has learned is three arrays, which are
stored with a trained model, so that new texts get the same features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.encoders.encoder import TEXTS, FrozenEncoder

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import TfidfVectorizer

NAME = "tfidf"

DIMENSION, FEWEST, TEXTS_EACH = 256, 16, 8
"""The default number of features: 256, but at most one per 8 distinct training texts, and 16 at least.

All judges of features scale each one to variance 1. With about as many principal directions as texts, all
texts are then equally far apart, and nothing is learned of them."""

MOST_DIMENSION = 2048

MOST_TERMS = 30_000
"""Most terms of each kind, the most frequent ones: 256 directions of 60,000 terms take 31 MB."""

LONGEST = 20_000
"""Characters of a text that are read; a book would otherwise take minutes."""

_BLOCKS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "parts": {"analyzer": "char_wb", "ngram_range": (3, 5)},
}
"""The two kinds of terms: words and pairs of words; and 3 to 5 characters within a word, which survive
misspelling and inflection."""


class TfidfEncoder(FrozenEncoder):
    """TF-IDF with sublinear counts, projected onto the principal directions of the training texts.

    Args:
        dimension: the most features D, by default those of `DIMENSION`, `FEWEST` and `TEXTS_EACH`; a small
            corpus has fewer, see `fitted`.
        seed: of the randomized SVD.

    >>> texts = ["red apple pie", "green apple tart", "fast red car", "slow green car"]
    >>> encoder = TfidfEncoder(2).fitted(texts)
    >>> tuple(encoder.encode(["an apple", ""]).shape)
    (2, 2)
    """

    def __init__(self, dimension: int | None = None, seed: int = 0) -> None:
        name = NAME if dimension is None else f"{NAME}:{dimension}"
        self.asked, self.seed = dimension, seed
        super().__init__(name, TEXTS, self._about(), dimension or DIMENSION, batch_size=1024)
        self._state: dict[str, Tensor] = {}
        self._vectorizers: list[TfidfVectorizer] = []
        self._directions = np.empty((0, 0), np.float32)

    def _about(self) -> dict[str, Any]:
        return {"terms": {kind: [*how["ngram_range"]] for kind, how in _BLOCKS.items()}, "seed": self.seed}

    def fitted(self, examples: Sequence[str]) -> TfidfEncoder:
        """Return an encoder whose terms and directions are those of training texts.

        Its number of features is that of `dimension`, or less for a corpus of fewer distinct texts or terms.

        Args:
            examples: the training texts, N.

        Raises:
            InputError: the texts have no word.
        """
        from scipy.sparse import hstack
        from sklearn.decomposition import TruncatedSVD

        texts = [_read(text) for text in examples]
        vectorizers, blocks = [], []
        for how in _BLOCKS.values():
            # a term of a single text tells nothing about others; in a small corpus it is all that there is
            vectorizer = _vectorizer(how, min_df=2 if len(texts) >= 200 else 1, max_features=MOST_TERMS)
            try:
                blocks.append(vectorizer.fit_transform(texts))
            except ValueError:
                raise InputError(
                    "the training texts have no word that occurs in two of them; check the column of text"
                ) from None
            vectorizers.append(vectorizer)
        counts = hstack(blocks, format="csr", dtype=np.float32)
        distinct = len(set(texts))
        asked = self.asked or min(DIMENSION, max(FEWEST, distinct // TEXTS_EACH))
        most = min(asked, distinct - 1, counts.shape[1] - 1)
        if most < 1:
            raise InputError("the training texts are all the same; check the column of text")
        found = TruncatedSVD(most, random_state=self.seed).fit(counts)
        directions = torch.from_numpy(found.components_.astype(np.float32)).half().contiguous()
        state = {"directions": directions}
        for kind, vectorizer in zip(_BLOCKS, vectorizers, strict=True):
            terms = "\n".join(vectorizer.get_feature_names_out()).encode("utf-8", "surrogatepass")
            state[f"{kind}.terms"] = torch.frombuffer(bytearray(terms), dtype=torch.uint8)
            state[f"{kind}.idf"] = torch.from_numpy(vectorizer.idf_.astype(np.float32))
        digest = hashlib.sha256()
        for text in texts:
            digest.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
        state["fitted_to"] = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
        return self.with_state(state)

    def state(self) -> dict[str, Tensor]:
        """Return the terms as UTF-8, their weights, the directions and the digest of the training texts."""
        return dict(self._state)

    def with_state(self, state: Mapping[str, Tensor]) -> TfidfEncoder:
        """Return the encoder that `fitted` returned, from its `state`.

        Raises:
            InputError: the state is not one of this encoder.
        """
        made = TfidfEncoder(self.asked, self.seed)
        try:
            made._state = {name: state[name] for name in _names()}
            for kind, how in _BLOCKS.items():
                made._vectorizers.append(_restored(how, state[f"{kind}.terms"], state[f"{kind}.idf"]))
            made._directions = state["directions"].float().numpy()
            count = sum(len(vectorizer.vocabulary) for vectorizer in made._vectorizers)
            if made._directions.ndim != 2 or made._directions.shape[1] != count:
                raise ValueError(f"{made._directions.shape} directions of {count} terms")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"the stored encoder {self.name!r} cannot be read: {error}") from None
        made.dimension = len(made._directions)
        # the texts and not the state: its last places differ between machines
        fitted_to = state["fitted_to"].numpy().tobytes().hex()
        made.identity |= {"dimension": made.dimension, "fitted_to": fitted_to}
        return made

    def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
        """Return the features of texts: float32 (B, D) of norm 1, or 0 for a text without a known term."""
        from scipy.sparse import hstack

        assert not isinstance(batch, Tensor)
        if not self._vectorizers:
            raise InputError(
                f"the encoder {self.name!r} is fitted to training texts first; call fitted(texts)"
            )
        texts = [_read(text) for text in batch]
        counts: csr_array = hstack([v.transform(texts) for v in self._vectorizers], format="csr")
        features = torch.from_numpy(np.asarray(counts @ self._directions.T, np.float32))
        return torch.nn.functional.normalize(features, dim=1)


def tfidf(text: str) -> TfidfEncoder:
    """Return the encoder that is called "tfidf", or "tfidf:D" for at most D features, however few the texts.

    Raises:
        InputError: D is no whole number from 2 to 2048.

    >>> tfidf("tfidf:64").dimension
    64
    """
    _, colon, count = text.partition(":")
    if not colon:
        return TfidfEncoder()
    if not count.isdecimal() or not 2 <= int(count) <= MOST_DIMENSION:
        raise InputError(f"features is {text!r}, expected {NAME}:D with D from 2 to {MOST_DIMENSION}")
    return TfidfEncoder(int(count))


def _read(text: str) -> str:
    return text[:LONGEST]


def _vectorizer(how: Mapping[str, Any], **more: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", dtype=np.float32, **how, **more)


def _restored(how: Mapping[str, Any], terms: Tensor, idf: Tensor) -> TfidfVectorizer:
    words = terms.numpy().tobytes().decode("utf-8", "surrogatepass").split("\n")
    if len(words) != len(idf):
        raise ValueError(f"{len(words)} terms and {len(idf)} weights")
    made = _vectorizer(how, vocabulary={word: place for place, word in enumerate(words)})
    made.idf_ = idf.numpy().astype(np.float64)
    return made


def _names() -> list[str]:
    of_blocks = [f"{kind}.{what}" for kind in _BLOCKS for what in ("terms", "idf")]
    return [*of_blocks, "directions", "fitted_to"]
