"""Confusion maps: the class numbers of the reference code, and matching by class names."""

from __future__ import annotations

import re

import pytest

from noisylabels.core.checks import InputError
from noisylabels.noise import MAPS, ConfusionMap
from noisylabels.noise.confusion_maps import resolve

CIFAR10 = MAPS["cifar10"].class_names
OWN = "give your own as pairs={3: 5, 5: 3}, or in the noise spec as @3to5,5to3"


def test_every_map_is_sound() -> None:
    assert list(MAPS) == ["cifar10", "digits", "fashion-mnist", "cifar100", "cifar100-blocks"]
    for name, row in MAPS.items():
        assert isinstance(row, ConfusionMap), name
        assert len(set(row.class_names)) == len(row.class_names)
        assert all(own == own.strip() for own in row.class_names)
        assert set(row.names) <= set(row.class_names)
        assert len({true for true, _ in row.pairs}) == len(row.pairs)
        assert all(true != given for true, given in row.pairs)
        assert row.title
        assert row.source


def test_cifar10_has_the_numbers_of_the_reference_code() -> None:
    # dataset.py of Ma et al. 2020: source_class and target_class, in their order
    assert resolve("cifar10", None, 10) == (
        "cifar10",
        tuple(zip([9, 2, 3, 5, 4], [1, 0, 5, 3, 7], strict=True)),
    )


def test_digits_have_the_numbers_of_the_reference_code() -> None:
    assert resolve("digits", None, 10) == ("digits", ((7, 1), (2, 7), (5, 6), (6, 5), (3, 8)))


def test_a_map_is_found_by_names_in_any_order_and_case() -> None:
    names = [
        " Truck",
        "SHIP",
        "horse",
        "frog",
        "dog",
        "deer",
        "cat",
        "bird",
        "automobile",
        "airplane",
        "sofa",
    ]
    name, pairs = resolve(None, names, 11)
    assert name == "cifar10"
    assert [(names[i].strip().lower(), names[j]) for i, j in pairs] == list(MAPS["cifar10"].pairs)
    assert resolve("cifar10", names, 11) == (name, pairs)


def test_names_decide_even_where_the_number_of_classes_is_that_of_another_map() -> None:
    assert resolve(None, [str(i) for i in range(10)], 10)[0] == "digits"


@pytest.mark.parametrize(
    ("name", "class_names", "num_classes", "message"),
    [
        (
            None,
            None,
            10,
            "asymmetric noise needs a confusion map, and labels without class names match none; "
            f"name one as @cifar10 (known: {', '.join(MAPS)}) or {OWN}",
        ),
        (
            "cifar10",
            None,
            7,
            "the confusion map 'cifar10' is for 10 classes and num_classes is 7; "
            "pass num_classes=10 if the labels are those of its data set, or pass class_names",
        ),
        (
            None,
            ("apple", "pear"),
            2,
            "asymmetric noise needs a confusion map, and none matches the classes apple, pear; "
            f"known: {', '.join(MAPS)}; {OWN}",
        ),
        (
            None,
            (*CIFAR10, *MAPS["fashion-mnist"].class_names),
            20,
            "asymmetric noise needs a confusion map, and more than one (cifar10, fashion-mnist) matches the "
            "classes airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck, T-shirt/top, "
            f"Trouser, ... (20 classes); known: {', '.join(MAPS)}; {OWN}",
        ),
        (
            "cifar10",
            CIFAR10[:9],
            9,
            "the confusion map 'cifar10' needs the classes truck, missing from "
            "airplane, automobile, bird, cat, deer, dog, frog, horse, ship; "
            f"known: {', '.join(MAPS)}; {OWN}",
        ),
        ("cifar10", (*CIFAR10, "Cat"), 11, "the class name 'cat' occurs 2 times, expected once"),
    ],
)
def test_no_map(name, class_names, num_classes: int, message: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(message) + "$"):
        resolve(name, class_names, num_classes)


def test_classes_named_by_numbers_are_digits_only_if_there_are_ten() -> None:
    assert resolve(None, list("0123456789"), 10)[0] == "digits"
    hundred = [str(k) for k in range(100)]
    with pytest.raises(InputError, match="needs a confusion map, and none matches the classes 0, 1, 2"):
        resolve(None, hundred, 100)
    assert resolve("digits", hundred, 100)[0] == "digits"  # whoever names it knows


def test_the_classes_of_cifar100_and_fashion_mnist_are_those_of_their_files() -> None:
    from noisylabels.data.cifar import FINE_NAMES
    from noisylabels.data.idx import FASHION_MNIST

    for name in ("cifar100", "cifar100-blocks"):
        assert MAPS[name].class_names == FINE_NAMES
        assert len(MAPS[name].pairs) == 100
    assert MAPS["fashion-mnist"].class_names == FASHION_MNIST.class_names
    assert resolve(None, FINE_NAMES, 100)[0] == "cifar100"
    assert resolve(None, FASHION_MNIST.class_names, 10)[0] == "fashion-mnist"
    spaced = [name.replace("_", " ").title() for name in FINE_NAMES]
    assert resolve(None, spaced, 100)[0] == "cifar100"


def test_cifar100_goes_round_in_its_superclasses_and_blocks() -> None:
    # train's fine labels by coarse label, from the meta file's order (Krizhevsky 2009)
    _, pairs = resolve("cifar100", None, 100)
    target = dict(pairs)
    ring, k = [], 4  # beaver, the first aquatic mammal
    for _ in range(5):
        ring.append(k)
        k = target[k]
    assert (ring, k) == ([4, 30, 55, 72, 95], 4)
    _, blocks = resolve("cifar100-blocks", None, 100)
    assert dict(blocks) == {k: k + 1 if k % 5 < 4 else k - 4 for k in range(100)}
