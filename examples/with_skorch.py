"""Use a loss in skorch, as the criterion and as a parameter of scikit-learn's searches.

pip install '.[examples]'
python examples/with_skorch.py

The data are digits with 40 % noisy labels. The search sees only the noisy labels, as yours would.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier
from torch import nn

import noisylabels as nl

EPOCHS = 25


def make_net(expression: str) -> NeuralNetClassifier:
    """Return a scikit-learn classifier of a small network with a loss."""
    return NeuralNetClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)),
        criterion=nl.loss,  # skorch passes it the criterion__ parameters
        criterion__expression=expression,  # the only line that changes
        predict_nonlinearity=partial(torch.softmax, dim=-1),  # skorch infers it only for nn.CrossEntropyLoss
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=0.1,
        max_epochs=EPOCHS,
        batch_size=64,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def main() -> None:
    """Train with both losses, print the accuracy on clean test labels, and select a loss on noisy ones."""
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    X, test_X = ((part.images / 255).numpy() for part in (train_set, test_set))
    test_y = test_set.labels.numpy()
    for expression in ("ce", "nce+mae"):
        torch.manual_seed(0)
        net = make_net(expression).fit(X, noisy.given)
        print(f"{expression}: {np.mean(net.predict(test_X) == test_y):.1%} of the clean test labels")

    torch.manual_seed(0)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(make_net("ce"), {"criterion__expression": ["ce", "nce+mae"]}, cv=folds, refit=False)
    search.fit(X, noisy.given)
    print(f"chosen on noisy labels: {search.best_params_['criterion__expression']}")


if __name__ == "__main__":
    main()
