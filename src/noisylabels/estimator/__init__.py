"""The scikit-learn interface: `NoisyLabelClassifier`."""

from noisylabels.estimator.classifier import NoisyLabelClassifier as NoisyLabelClassifier
