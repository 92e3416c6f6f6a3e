"""Record the dynamics of a run: gradients, steps, predictions and sharpness, for clean and noisy labels."""

from noisylabels.training.dynamics.recorder import STRIDE, Dynamics
from noisylabels.training.dynamics.recording import EXAMPLES, FILE, read_dynamics, read_examples

__all__ = ["EXAMPLES", "FILE", "STRIDE", "Dynamics", "read_dynamics", "read_examples"]
