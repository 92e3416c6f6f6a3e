"""Fine-tuning a pretrained network beside classifiers on its frozen features, with human labels.

    python benchmarks/fine_tuning.py CIFAR10-FOLDER HUMAN.parquet --seeds 0 1 2

Each seed draws its own training images; the test images are the first of the test set, with their true
labels. Settings are chosen with `--choose`, which evaluates on other training images with the labels given to
them in place of test images. Every classifier and every epoch of fine-tuning prints a line of JSON;
`--epochs 0` leaves fine-tuning out.
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
    for seed in args.seeds:
        order = np.random.default_rng(seed).permutation(len(train))
        rows, others = np.sort(order[: args.examples]), np.sort(order[args.examples :][: args.test])
        subset = with_labels(subset_of(train, rows), human[rows])
        seen = subset_of(test, range(args.test))
        if args.choose:
            seen = with_labels(subset_of(train, others), human[others])
        about = {"seed": seed, "n": args.examples, "labels": args.column}
        about |= {"seen": f"{args.test} {'other training' if args.choose else 'test'} images"}
        for name, accuracy, seconds in frozen(subset, seen, seed):
            row = {"method": name, "accuracy": accuracy, "cpu_seconds": seconds}
            print(json.dumps(about | row), flush=True)
        if args.epochs:
            fine_tune(subset, seen, seed, args, about)


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


def fine_tune(train, seen, seed, args, about):
    """Fine-tune the network; each epoch prints its accuracy."""
    size = tuple(train.images.shape[2:])
    model = nl.build_model(MODEL, channels=3, image_size=size, num_classes=train.num_classes, seed=seed)
    settings = {
        "epochs": args.epochs,
        "batch_size": 64,
        "lr": args.lr,
        "body_lr": args.body_lr,
        "frozen_epochs": args.frozen_epochs,
        "batch_norm": args.batch_norm,
        "schedule": args.schedule,
        "augment": args.augment,
        "precision": args.precision,
        "seed": seed,
    }
    how = f"fine-tuned, {args.loss}, lr {args.lr:g}, body {args.body_lr:g}, frozen {args.frozen_epochs}, "
    how += f"{args.schedule}, batch norm {args.batch_norm}, augment {args.augment}"
    callbacks = [Print(about | {"method": how})]
    nl.fit(model, train, seen, nl.loss(args.loss), callbacks=callbacks, **settings)


class Print(nl.Callback):
    """Prints each epoch as it ends."""

    def __init__(self, about) -> None:
        self.about, self.began = about, time.process_time()

    def on_epoch_end(self, row) -> None:
        """Print the accuracy, the loss and the seconds of the processor so far."""
        found = {"epoch": row["epoch"], "accuracy": row["test_accuracy"], "train_loss": row["train_loss"]}
        print(json.dumps(self.about | found | {"cpu_seconds": time.process_time() - self.began}), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("labels", help="Parquet file with a column of human labels")
    parser.add_argument("--column", default="worse_label")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--choose", action="store_true", help="evaluate on other training images")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--loss", default="gce")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--body-lr", type=float, default=0.03)
    parser.add_argument("--frozen-epochs", type=int, default=4)
    parser.add_argument("--batch-norm", default="auto")
    parser.add_argument("--schedule", default="constant")
    parser.add_argument("--augment", default="flip")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
