"""The accuracy of a finished run on true labels, where the labels of its test part may be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from noisylabels.data.features import Examples


def on_true_labels(
    model: nn.Module, shape: dict[str, Any], train: Examples, test: Examples
) -> dict[str, Any]:
    """Return the estimated accuracy on true labels as plain values, or the reason why there is none.

    Args:
        model: the trained model, in evaluation mode.
        shape: the arguments of `build_model`.
        train: the training set, for the normalization of the inputs.
        test: the test set, with its given labels.

    Returns:
        The keys of `CleanAccuracy.to_dict`, or "why".
    """
    import numpy as np

    from noisylabels.experiment.prediction import Trained, predict
    from noisylabels.models.normalization import normalization_of
    from noisylabels.noise.clean_accuracy import clean_accuracy, too_few

    why = too_few(len(test), train.num_classes)
    if why is not None:
        return {"why": why}
    own = normalization_of(model, shape["channels"]) if train.inputs.ndim == 4 else None
    mean, std = own or train.mean_std()
    probs = predict(Trained(model, shape, train.class_names, mean, std), test.inputs)
    if not bool(probs.isfinite().all()):
        return {"why": "the model predicts numbers that are not finite"}
    return clean_accuracy(np.asarray(test.labels), probs.numpy()).to_dict()


def kind_of_input(train: Examples) -> str:
    """Return what `noisylabels predict` takes for a model of this set: images, or a table."""
    return "images" if getattr(train, "encoder", None) is None else "table"
