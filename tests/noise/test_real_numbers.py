"""Complex numbers and dates are no probabilities, matrices or weights; NumPy would convert them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.estimator.inputs import checked_weights
from noisylabels.noise.transition import check_transition

HALF = np.full((2, 2), 0.5)

DOORS = {
    "rank": lambda values: nl.rank([0, 1], values),
    "audit": lambda values: nl.audit_labels(labels=[0, 1], probs=values),
    "transition": check_transition,
    "class weights": lambda values: nl.loss("ce", weight=values[0]),
    "sample weights": lambda values: checked_weights(values[0], 2),
}

KINDS = {
    "complex array": HALF.astype(np.complex64),
    "complex tensor": torch.full((2, 2), 0.5, dtype=torch.complex64),
    "dates": HALF.astype("datetime64[s]"),
    "durations": HALF.astype("timedelta64[s]"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
def test_values_that_are_no_real_numbers_are_refused(door: str, kind: str):
    with pytest.raises(InputError):  # warnings are errors here: nothing is converted before the check
        DOORS[door](KINDS[kind])


@pytest.mark.parametrize("door", DOORS)
def test_real_numbers_pass(door: str):
    for values in (HALF, torch.from_numpy(HALF), HALF.astype(np.float32)):
        DOORS[door](values)


def test_a_complex_matrix_in_a_file_is_one_line(tmp_path, capsys):
    from noisylabels.cli import main

    np.save(tmp_path / "T.npy", np.eye(10, dtype=np.complex128))
    assert main(["noise", f"matrix:{tmp_path / 'T.npy'}"]) == 2
    assert "of type complex128, expected real numbers" in capsys.readouterr().err
