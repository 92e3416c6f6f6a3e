"""The scikit-learn face: `NoisyLabelClassifier`."""

from noisylabels.estimator.classifier import NoisyLabelClassifier as NoisyLabelClassifier
