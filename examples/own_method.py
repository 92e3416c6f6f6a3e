"""A training method of your own: predictions gradually replace given labels. See docs/methods/own.md.

noisylabels train digits --noise symmetric:0.4 --method "examples/own_method.py:SelfAdaptive(momentum=0.9)"
"""
# ruff: noqa: D102

import torch

import noisylabels as nl


class SelfAdaptive(nl.Method):
    """Minimizes the loss on targets that start as the given labels and follow the predictions."""

    weighted = True  # examples may have weights: mean_loss applies them

    def __init__(self, model, loss, momentum: float = 0.8, warmup: int = 5):
        super().__init__([model], loss)
        self.momentum, self.warmup = momentum, warmup

    def prepare(self, setup):
        self.register_buffer("targets", torch.eye(setup.num_classes, device=setup.device)[setup.labels])

    def step(self, batch):
        logits = self.logits(batch.inputs)
        if batch.epoch >= self.warmup:
            old, new = self.targets[batch.positions], logits.detach().softmax(1)
            self.targets[batch.positions] = self.momentum * old + (1 - self.momentum) * new
        return self.mean_loss(logits, batch._replace(target=self.targets[batch.positions])), logits

    def columns(self):
        return {"certainty": float(self.targets.max(1).values.mean())}
