import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisylabels.core.checks import InputError
from noisylabels.data import loader
from noisylabels.data.augment import Augment, normalize
from noisylabels.data.loader import Batches


def make(n=23, **changes):
    images = torch.randint(
        0, 256, (n, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    options = {
        "batch_size": 5, "device": "cpu", "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4),
        "augment": Augment(crop=2, flip=True), "shuffle": True, "seed": 7,
    } | changes  # fmt: skip
    return Batches(images, torch.arange(n) % 4, **options)


def same_batch(one, other):
    fields = [(*batch.views, batch.target, batch.positions) for batch in (one, other)]
    return one.epoch == other.epoch and all(torch.equal(a, b) for a, b in zip(*fields, strict=True))


def same(one, other):
    return len(one) == len(other) and all(map(same_batch, one, other))


def by_example(batches, epoch):
    """Return the image of each example, independent of batches."""
    return {
        int(i): image
        for batch in batches.epoch(epoch)
        for i, image in zip(batch.positions, batch.inputs, strict=True)
    }


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), batch_size=st.integers(1, 45), shuffle=st.booleans())
def test_every_example_comes_once(n, batch_size, shuffle):
    batches = make(n, batch_size=batch_size, shuffle=shuffle)
    found = list(batches.epoch(3))
    index = torch.cat([batch.positions for batch in found])
    assert sorted(index.tolist()) == list(range(n))
    assert len(found) == len(batches)
    assert all(len(batch.positions) == batch_size for batch in found[:-2])
    if shuffle and n > 1 and batch_size > 1:
        assert len(found[-1].positions) > 1  # batch normalization cannot train on one example
    assert torch.equal(torch.cat([batch.target for batch in found]), index % 4)


def test_without_shuffling_the_order_is_the_set_s():
    batches = make(11, shuffle=False, augment=None)
    assert [len(batch.positions) for batch in batches] == [5, 5, 1]
    assert torch.cat([batch.positions for batch in batches]).tolist() == list(range(11))


def test_the_images_are_the_set_s_normalized():
    batches = make(augment=None)
    images = torch.randint(
        0, 256, (23, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for batch in batches.epoch(0):
        assert torch.equal(batch.inputs, normalize(images[batch.positions], (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))


def test_augmented_images_follow_the_draws():
    images = torch.randint(
        0, 256, (23, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    augment = Augment(crop=2, flip=True)
    draws = augment.draw(23, 7, 4)
    for batch in make().epoch(4):
        expected = augment.apply(images[batch.positions], draws.at(batch.positions))
        assert torch.equal(batch.inputs, normalize(expected, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))


@pytest.mark.parametrize("n", [20, 21, 23])
def test_resuming_from_any_batch_equals_the_rest_of_the_epoch(n):
    whole = list(make(n).epoch(5))
    for start in range(len(whole) + 1):
        assert same(list(make(n).epoch(5, start)), whole[start:])


def test_order_differs_by_epoch_and_seed_and_repeats():
    orders = {
        key: tuple(torch.cat([b.positions for b in make(seed=key[0]).epoch(key[1])]).tolist())
        for key in itertools.product((0, 1), (0, 1, 2))
    }
    assert len(set(orders.values())) == 6
    assert orders[1, 2] == tuple(torch.cat([b.positions for b in make(seed=1).epoch(2)]).tolist())


def test_augmentation_does_not_depend_on_batches_or_order():
    base = by_example(make(), 2)
    for other in (make(batch_size=7), make(shuffle=False)):
        found = by_example(other, 2)
        assert all(torch.equal(base[i], found[i]) for i in range(23))
    assert not all(torch.equal(base[i], by_example(make(), 3)[i]) for i in range(23))


def test_the_order_does_not_depend_on_augmentation():
    plain, augmented = make(augment=None).epoch(1), make().epoch(1)
    assert all(torch.equal(a.positions, b.positions) for a, b in zip(plain, augmented, strict=True))


PART = torch.tensor([1, 2, 5, 8, 9, 13, 14, 15, 18, 20, 22])


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_part_is_its_examples_as_they_are_in_the_whole(shuffle):
    """Labels, index and augmentation of an example go by its position in the set."""
    found = list(make(positions=PART, shuffle=shuffle).epoch(2))
    assert [len(batch.positions) for batch in found] == ([5, 6] if shuffle else [5, 5, 1])
    index = torch.cat([batch.positions for batch in found])
    assert sorted(index.tolist()) == PART.tolist()
    assert torch.equal(index, PART) is not shuffle
    assert torch.equal(torch.cat([batch.target for batch in found]), index % 4)
    whole, part = by_example(make(), 2), by_example(make(positions=PART, shuffle=shuffle), 2)
    assert all(torch.equal(part[i], whole[i]) for i in PART.tolist())


def test_a_part_that_is_the_whole_changes_nothing_and_resuming_works_in_a_part():
    assert same(list(make(positions=torch.arange(23)).epoch(3)), list(make().epoch(3)))
    whole = list(make(positions=PART).epoch(4))
    for start in range(3):
        assert same(list(make(positions=PART).epoch(4, start)), whole[start:])


def test_the_images_of_a_part_are_not_copied():
    images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    how = {"batch_size": 2, "device": "cpu", "mean": [0.0], "std": [1.0], "augment": None, "seed": 0}
    part = Batches(images, torch.zeros(6).long(), shuffle=True, positions=torch.tensor([0, 3]), **how)
    assert part.inputs.data_ptr() == images.data_ptr()


def test_drop_last_leaves_out_what_is_not_full():
    assert [len(batch.positions) for batch in make(23, drop_last=True).epoch(0)] == [5, 5, 5, 5]
    assert [len(batch.positions) for batch in make(21, drop_last=True).epoch(0)] == [5, 5, 5, 5]


def test_channels_last_changes_the_layout_only():
    for one, other in zip(make().epoch(0), make(channels_last=True).epoch(0), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert other.inputs.is_contiguous(memory_format=torch.channels_last)
        assert one.inputs.is_contiguous()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch size is 0"),
        ({"batch_size": 24, "drop_last": True}, "do not fill a batch of 24"),
        ({"positions": torch.arange(4), "drop_last": True}, "4 examples do not fill a batch of 5"),
        ({"positions": torch.arange(0)}, "the part of the 23 images is empty"),
        ({"mean": (0.5,)}, "one for each of 3 channels"),
        ({"n": 0}, "0 images"),
    ],
)
def test_errors_say_what_is_wrong(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_one_label_per_image_is_required():
    with pytest.raises(InputError, match="expected one label per image"):
        Batches(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2), batch_size=1, device="cpu",
                mean=[0.0], std=[1.0], augment=None, shuffle=False, seed=0)  # fmt: skip


@pytest.mark.parametrize("start", [-1, 6])
def test_a_start_outside_the_epoch_is_refused_at_once(start):
    with pytest.raises(InputError, match=f"start is batch {start}, expected 0 to 5"):
        make().epoch(0, start)


def test_a_large_set_stays_on_the_host(monkeypatch):
    images = torch.zeros(10, 1, 10, 10, dtype=torch.uint8)
    for free, resident in ((2001, True), (2000, True), (1999, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**6))
        assert loader.is_resident(images, torch.device("cuda")) is resident
    assert loader.is_resident(images, torch.device("cpu"))


def test_how_many_batches_are_prepared_at_once():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    photographs, large = 128 * 3 * 32 * 32, 128 * 3 * 224 * 224
    assert loader._together(True, gpu, photographs) == 21
    assert loader._together(True, gpu, large) == 1
    assert loader._together(False, gpu, photographs) == loader._together(True, cpu, photographs) == 1


@pytest.mark.parametrize("together", [2, 3, 100])
@pytest.mark.parametrize("start", [0, 2, 5])
def test_batches_prepared_together_are_the_same(together, start):
    batches = make(channels_last=True)
    batches._together = together
    found = list(batches.epoch(1, start))
    for ours, theirs in zip(found, make(channels_last=True).epoch(1, start), strict=True):
        assert same_batch(ours, theirs)
        assert ours.inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fits", [True, False])
def test_a_gpu_sees_the_same_batches_without_synchronizing(monkeypatch, fits):
    monkeypatch.setattr(loader, "is_resident", lambda images, device: fits or device.type == "cpu")
    walk = make(device="cuda").epoch(1)
    first = next(walk)  # the epoch's draws are moved here, once
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [first, *walk]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, theirs in zip(found, make().epoch(1), strict=True):
        assert torch.allclose(ours.inputs.cpu(), theirs.inputs, atol=1e-6)
        assert torch.equal(ours.positions.cpu(), theirs.positions)
        assert torch.equal(ours.target.cpu(), theirs.target)


@pytest.mark.parametrize("start", [0, 1, 9, 10, 13])
def test_batches_gathered_ahead_are_the_same(start, monkeypatch):
    """Also when resuming, and with fewer batches than are gathered at once."""

    def epoch():
        return make(100, batch_size=8).epoch(2, start=start)

    expected = list(epoch())
    monkeypatch.setattr(loader, "_AHEAD_BYTES", 1)
    found = list(loader.Timed(epoch()))
    assert len(found) == len(expected) == 13 - start
    for mine, theirs in zip(found, expected, strict=True):
        assert same_batch(mine, theirs)
    left_early = epoch()
    next(left_early, None)
    left_early.close()


def test_waiting_is_measured(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def slow():
        for k in range(3):
            clock[0] += 2
            yield k

    timed = loader.Timed(slow())
    for _ in timed:
        clock[0] += 5
    assert timed.take() == 6
    assert timed.take() == 0
