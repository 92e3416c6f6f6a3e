import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.data.split import class_share, hold_out, validation_split


def test_each_class_gives_its_share():
    labels = np.repeat([0, 1, 2, 3], [100, 50, 2, 1])
    train, test = hold_out(labels, [str(i) for i in range(153)], 0.2)
    assert np.bincount(labels[test], minlength=4).tolist() == [20, 10, 1, 0]
    assert sorted([*train, *test]) == list(range(153))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()


def test_a_class_is_never_emptied():
    labels = np.repeat([0, 1], [3, 2])
    train, _ = hold_out(labels, list("abcde"), 0.99)
    assert np.bincount(labels[train]).tolist() == [1, 1]


def test_the_choice_is_fixed():
    """Golden values: another choice would change the test set of all published results."""
    _, test = hold_out(np.zeros(20, dtype=np.int64), [f"train:{i}" for i in range(20)], 0.25)
    assert test.tolist() == [0, 7, 13, 14, 16]


def test_the_choice_is_not_systematic():
    _, test = hold_out(np.zeros(10_000, dtype=np.int64), [str(i) for i in range(10_000)], 0.2)
    assert abs(test.mean() - 5000) < 4 * 2887 / np.sqrt(2000)  # 4 standard errors of a uniform draw


def test_a_corrected_label_moves_no_other_example():
    keys = [f"{i}.jpg" for i in range(200)]
    labels = np.arange(200) % 2
    corrected = labels.copy()
    corrected[17] = 1 - corrected[17]
    before = {keys[i] for i in hold_out(labels, keys, 0.2)[1]}
    after = {keys[i] for i in hold_out(corrected, keys, 0.2)[1]}
    assert len(before ^ after) <= 2


def test_nothing_to_hold_out_is_an_error():
    with pytest.raises(InputError, match="no class has two"):
        hold_out(np.arange(3), list("abc"), 0.5)


@given(n=st.integers(2, 300), share=st.floats(0, 0.99), seed=st.integers(0, 5))
def test_a_validation_split_parts_the_set(n, share, seed):
    if share and not 0 < round(share * n) < n:
        with pytest.raises(InputError, match=f"of {n} training examples is .*, expected 1 to {n - 1}"):
            validation_split(n, share, seed)
        return
    kept, held = validation_split(n, share, seed)
    assert len(held) == round(share * n)
    assert sorted([*kept, *held]) == list(range(n))  # each once
    assert kept.tolist() == sorted(kept)
    assert held.tolist() == sorted(held)


def test_a_validation_split_is_drawn_by_the_seed_and_grows_with_the_share():
    """Golden values: another choice would change the validation set of all existing results."""
    assert validation_split(20, 0.2, 0)[1].tolist() == [7, 8, 10, 14]
    few, more = (set(validation_split(1000, share, 3)[1].tolist()) for share in (0.1, 0.2))
    assert few < more
    assert few != set(validation_split(1000, 0.1, 4)[1].tolist())
    _, held = validation_split(10_000, 0.2, 0)
    assert abs(held.mean() - 5000) < 4 * 2887 / np.sqrt(2000)  # 4 standard errors of a uniform draw


@pytest.mark.parametrize(("n", "share"), [(4, 0.1), (1, 0.5), (1, 0.1), (3, 0.9)])
def test_a_validation_split_of_none_or_all_is_an_error(n, share):
    with pytest.raises(
        InputError, match=rf"a validation share of {share:g} of {n} training .* choose another"
    ):
        validation_split(n, share, 0)


def test_a_share_of_each_class_grows_and_does_not_depend_on_the_others():
    labels = np.repeat([0, 1, 2], [40, 20, 1])
    keys = [f"train:{i}" for i in range(61)]
    small, large, whole = (class_share(labels, keys, share) for share in (0.25, 0.5, 1.0))
    assert [np.bincount(labels[part]).tolist() for part in (small, large)] == [[10, 5, 1], [20, 10, 1]]
    assert set(small) < set(large)
    assert whole.tolist() == list(range(61))
    without = class_share(labels[:60], keys[:60], 0.25)
    assert without.tolist() == small[:-1].tolist()
    assert (np.diff(small) > 0).all()
    assert small.tolist() != np.flatnonzero(np.arange(61) < 10).tolist()
