"""Fine-tuning a pretrained network beside classifiers on its frozen features, with human labels.

    python benchmarks/fine_tuning.py CIFAR10-FOLDER HUMAN.parquet --seeds 0 1 2

Each seed draws its own 2,500 training images; the test images are the first 1,000 of the test set, with their
true labels. Every run prints a line of JSON; `--epochs 0` leaves fine-tuning out.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.linear_model import LogisticRegression

import noisylabels as nl
from noisylabels.data.features import subset_of, with_labels

MODEL = "efficientnet-lite0,pretrained"


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    train, test = nl.load(args.data)
    human = np.asarray(pq.read_table(args.labels)[args.column]).astype(np.int64)
    test = subset_of(test, range(args.test))
    for seed in args.seeds:
        rows = np.sort(np.random.default_rng(seed).choice(len(train), args.examples, replace=False))
        subset = with_labels(subset_of(train, rows), human[rows])
        about = {"seed": seed, "n": args.examples, "labels": args.column}
        for name, accuracy, seconds in frozen(subset, test, seed):
            print(
                json.dumps({**about, "method": name, "accuracy": accuracy, "cpu_seconds": seconds}),
                flush=True,
            )
        if args.epochs:
            for row in fine_tuned(subset, test, seed, args):
                print(json.dumps({**about, **row}), flush=True)


def frozen(train, test, seed):
    """Yield name, accuracy and seconds of classifiers on the frozen features."""
    began = time.process_time()
    (fit,), (seen,) = (nl.embed(part, features="efficientnet-lite0") for part in (train, test))
    embedding = time.process_time() - began
    X, y, truth = fit.features.numpy(), fit.labels.numpy(), seen.labels.numpy()
    mean, std = X.mean(0), X.std(0) + 1e-8
    makers = {
        "frozen, logistic regression, C=0.001": LogisticRegression(C=0.001, max_iter=500),
        "frozen, NoisyLabelClassifier": nl.NoisyLabelClassifier(random_state=seed),
    }
    for name, classifier in makers.items():
        began = time.process_time()
        classifier.fit((X - mean) / std, y)
        found = classifier.predict((seen.features.numpy() - mean) / std)
        yield name, float((found == truth).mean()), embedding + time.process_time() - began


def fine_tuned(train, test, seed, args):
    """Yield the accuracy after each epoch of fine-tuning."""
    size = tuple(train.images.shape[2:])
    model = nl.build_model(MODEL, channels=3, image_size=size, num_classes=train.num_classes, seed=seed)
    settings = {
        "epochs": args.epochs,
        "batch_size": 64,
        "lr": args.lr,
        "body_lr": args.body_lr,
        "frozen_epochs": args.frozen_epochs,
        "augment": "crop:4+flip",
        "precision": args.precision,
        "seed": seed,
    }
    began = time.process_time()
    history = nl.fit(model, train, test, nl.loss(args.loss), callbacks=[Print(began)], **settings)
    how = f"fine-tuned, {args.loss}, lr {args.lr:g}, body {args.body_lr:g}, frozen {args.frozen_epochs}"
    for row in history.rows:
        yield {"method": how, "epoch": row["epoch"], "accuracy": row["test_accuracy"]}
    yield {"method": how, "cpu_seconds": time.process_time() - began}


class Print(nl.Callback):
    """Prints each epoch as it ends."""

    def __init__(self, began: float) -> None:
        self.began = began

    def on_epoch_end(self, row) -> None:
        """Print the accuracy and the seconds of the processor so far."""
        print(
            f"epoch {row['epoch']}: {row['test_accuracy']:.4f}, {time.process_time() - self.began:.0f} s",
            flush=True,
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("labels", help="Parquet file with a column of human labels")
    parser.add_argument("--column", default="worse_label")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--examples", type=int, default=2500)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--loss", default="gce")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--body-lr", type=float, default=0.3)
    parser.add_argument("--frozen-epochs", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
