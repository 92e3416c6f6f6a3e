"""Train a text classifier with 40 % noisy labels: which library is this docstring from?

python examples/text.py

The texts are the docstrings of numpy, scipy, scikit-learn and torch, which every machine that runs this has.
The script reads them without importing them and downloads nothing. The model is a bag of word embeddings.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn

import noisylabels as nl

LIBRARIES = ("numpy", "scipy", "sklearn", "torch")
FILES = 120  # the first ones of each library
WORDS = 80  # the first ones of each text
EPOCHS = 12


def docstrings(library: str) -> list[list[str]]:
    """Return the distinct docstrings of a library as lists of words, without the libraries' names."""
    found = {}
    folder = Path(find_spec(library).origin).parent
    for path in [path for path in sorted(folder.rglob("*.py")) if "tests" not in path.parts][:FILES]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                words = [word for word in re.findall(r"[a-z]+", text.lower()) if word not in LIBRARIES]
                if len(words) >= 8:
                    found[tuple(words[:WORDS])] = None  # a dict keeps each text once, in order
    return [list(words) for words in found]


class BagOfWords(nn.Module):
    """The mean of a text's word embeddings, and two layers; word 0 is padding."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(vocabulary, 64, mode="mean", padding_idx=0)
        self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Map word numbers (N, WORDS) to logits (N, K)."""
        return self.head(self.vectors(words))


def encode(texts: list[list[str]], numbers: dict[str, int]) -> torch.Tensor:
    """Return texts as word numbers, (N, WORDS), without the words that the vocabulary lacks."""
    rows = torch.zeros(len(texts), WORDS, dtype=torch.int64)
    for row, text in zip(rows, texts, strict=True):
        known = [numbers[word] for word in text if word in numbers]
        row[: len(known)] = torch.tensor(known, dtype=torch.int64)
    return rows


def main() -> None:
    """Train with both losses and print the accuracy on clean test labels."""
    texts, labels = [], []
    for label, library in enumerate(LIBRARIES):
        for words in docstrings(library):
            texts.append(words)
            labels.append(label)
    train_texts, test_texts, true, test_labels = train_test_split(
        texts, np.array(labels), test_size=0.25, random_state=0, stratify=labels
    )
    noisy = nl.corrupt(true, "symmetric:0.4", class_names=LIBRARIES, seed=0)
    counts = Counter(word for text in train_texts for word in text)
    numbers = {word: i for i, word in enumerate((w for w, n in counts.items() if n > 1), start=1)}
    train, test = encode(train_texts, numbers), encode(test_texts, numbers)
    print(f"{len(train)} texts of {len(numbers)} words, {noisy.rate:.1%} of the labels noisy")

    given, test_labels = torch.as_tensor(noisy.given), torch.as_tensor(test_labels)
    for expression in ("ce", "nce+rce"):
        criterion = nl.loss(expression)  # the only line that changes
        torch.manual_seed(0)
        model = BagOfWords(len(numbers) + 1, len(LIBRARIES))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(train)).split(64):
                optimizer.zero_grad()
                criterion(model(train[batch]), given[batch]).backward()
                optimizer.step()
        with torch.inference_mode():
            right = model(test).argmax(1) == test_labels
        print(f"{expression}: {right.float().mean():.1%} of the clean test labels")


if __name__ == "__main__":
    main()
