"""Confusion maps for asymmetric noise: pairs of confused classes, by class name.

A map is matched by names, not by numbers: a folder of images with alphabetically sorted classes gets the same
confusions as the data set that the map was written for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noisylabels.core.checks import InputError
from noisylabels.core.registry import Registry
from noisylabels.noise.checks import Pairs


@dataclass(frozen=True)
class ConfusionMap:
    """One named confusion map.

    Args:
        title: one line for users.
        class_names: all classes of the data set that it was written for, in that data set's order, which
            numbers the classes of labels without class names.
        pairs: (true, given) class names, in the order in which `@sequential` applies them.
        source: authors, year, and where.
        automatic: whether it is used where the classes match and no map is named.
    """

    title: str
    class_names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    source: str
    automatic: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The classes of the pairs, each once."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in pair))

    def missing(self, class_names: Sequence[str]) -> list[str]:
        """Return the classes of the pairs that are not among `class_names`."""
        present = {_fold(name) for name in class_names}
        return [name for name in self.names if _fold(name) not in present]

    def fits(self, class_names: Sequence[str]) -> bool:
        """Return whether the map applies to such classes without being named.

        Many sets name their classes by numbers, so for such names the number of classes must match too.

        Args:
            class_names: K names in the order of the class numbers.
        """
        numbered = all(name.isdecimal() for name in self.names)
        same = not numbered or len(class_names) == len(self.class_names)
        return self.automatic and same and not self.missing(class_names)

    def numbers(self, class_names: Sequence[str]) -> Pairs:
        """Return the pairs as class numbers; each class of the pairs must be in `class_names` exactly once.

        Args:
            class_names: K names in the order of the class numbers.

        Raises:
            InputError: a class of the map is missing, or there twice.

        >>> MAPS["cifar10"].numbers(MAPS["cifar10"].class_names)
        ((9, 1), (2, 0), (3, 5), (5, 3), (4, 7))
        """
        folded = [_fold(name) for name in class_names]
        for name in self.names:
            if (times := folded.count(_fold(name))) != 1:
                raise InputError(f"the class name {name!r} occurs {times} times, expected once")
        return tuple((folded.index(_fold(true)), folded.index(_fold(given))) for true, given in self.pairs)


MAPS: Registry[ConfusionMap] = Registry("confusion map")
"""Confusion maps by name, as in ``asymmetric:0.4@NAME``: which class is mistaken for which."""

MAPS.add(
    "cifar10",
    ConfusionMap(
        title="similar classes of CIFAR-10",
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        # the order of dataset.py of Ma et al. 2020; for Patrini's transition matrix the order does not matter
        pairs=(
            ("truck", "automobile"),
            ("bird", "airplane"),
            ("cat", "dog"),
            ("dog", "cat"),
            ("deer", "horse"),
        ),
        source="the paper, appendix A.2; Patrini et al. 2017, section 4",
    ),
)

MAPS.add(
    "digits",
    ConfusionMap(
        title="digits that look alike",
        class_names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
        pairs=(("7", "1"), ("2", "7"), ("5", "6"), ("6", "5"), ("3", "8")),
        source="Patrini et al. 2017, section 4; MNISTNoisy in dataset.py of Ma et al. 2020",
    ),
)

MAPS.add(
    "fashion-mnist",
    ConfusionMap(
        title="clothes that look alike",
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        pairs=(
            ("Ankle boot", "Sneaker"),
            ("Sneaker", "Sandal"),
            ("Pullover", "Shirt"),
            ("Coat", "Dress"),
            ("Dress", "Coat"),
        ),
        source="Zhang and Sabuncu 2018, section 4.1",
    ),
)

_CIFAR100 = (
    "beaver dolphin otter seal whale",
    "aquarium_fish flatfish ray shark trout",
    "orchid poppy rose sunflower tulip",
    "bottle bowl can cup plate",
    "apple mushroom orange pear sweet_pepper",
    "clock keyboard lamp telephone television",
    "bed chair couch table wardrobe",
    "bee beetle butterfly caterpillar cockroach",
    "bear leopard lion tiger wolf",
    "bridge castle house road skyscraper",
    "cloud forest mountain plain sea",
    "camel cattle chimpanzee elephant kangaroo",
    "fox porcupine possum raccoon skunk",
    "crab lobster snail spider worm",
    "baby boy girl man woman",
    "crocodile dinosaur lizard snake turtle",
    "hamster mouse rabbit shrew squirrel",
    "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "bicycle bus motorcycle pickup_truck train",
    "lawn_mower rocket streetcar tank tractor",
)
"""The fine classes of each superclass of CIFAR-100, in the (alphabetical) order of the superclasses."""


def _rings(groups: Iterable[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Return pairs that map each class to the next of its group and the last to the first."""
    return tuple(
        (name, group[(place + 1) % len(group)]) for group in groups for place, name in enumerate(group)
    )


_FINE = tuple(sorted(name for group in _CIFAR100 for name in group.split()))

MAPS.add(
    "cifar100",
    ConfusionMap(
        title="each class of CIFAR-100 to the next of its superclass",
        class_names=_FINE,
        pairs=_rings(group.split() for group in _CIFAR100),
        source="Zhang and Sabuncu 2018, section 4.1; superclasses of Krizhevsky 2009",
    ),
)

MAPS.add(
    "cifar100-blocks",
    ConfusionMap(
        title="each class of CIFAR-100 to the next of five consecutive numbers, which are not superclasses",
        class_names=_FINE,
        pairs=_rings(_FINE[start : start + 5] for start in range(0, 100, 5)),
        source="cifar100Nosiy in dataset.py of Ma et al. 2020, and with it most published tables",
        automatic=False,  # the papers describe superclasses
    ),
)

ALIASES = {"mnist": "digits"}
"""Other names of maps."""

_HOW = "give your own as pairs={3: 5, 5: 3}, or in the noise spec as @3to5,5to3"


def resolve(name: str | None, class_names: Sequence[str] | None, num_classes: int) -> tuple[str, Pairs]:
    """Return the name of the confusion map for a data set, and its pairs in the data set's class numbers.

    Args:
        name: the map; None: the one that matches the class names.
        class_names: the data's K class names, in any order and case; None if unknown, which assumes the
            class order of the map's own data set.
        num_classes: K.

    Raises:
        InputError: the data lack classes of the map, or no map or more than one matches.

    >>> resolve(None, ["Cat", "Dog", "Deer", "Horse", "Bird", "Airplane", "Truck", "Automobile"], 8)
    ('cifar10', ((6, 7), (4, 5), (0, 1), (1, 0), (2, 3)))
    """
    known = ", ".join(MAPS)
    if class_names is None:
        if name is None:
            raise InputError(
                f"asymmetric noise needs a confusion map, and labels without class names match none; "
                f"name one as @{next(iter(MAPS))} (known: {known}) or {_HOW}"
            )
        own = MAPS[name].class_names
        if len(own) != num_classes:
            raise InputError(
                f"the confusion map {name!r} is for {len(own)} classes and num_classes is {num_classes}; "
                f"pass num_classes={len(own)} if the labels are those of its data set, or pass class_names"
            )
        return name, MAPS[name].numbers(own)
    if name is None:
        fits = [row for row in MAPS if MAPS[row].fits(class_names)]
        if len(fits) != 1:
            found = f"more than one ({', '.join(fits)})" if fits else "none"
            raise InputError(
                f"asymmetric noise needs a confusion map, and {found} matches the classes "
                f"{_shortened(class_names)}; known: {known}; {_HOW}"
            )
        name = fits[0]
    lacking = MAPS[name].missing(class_names)
    if lacking:
        raise InputError(
            f"the confusion map {name!r} needs the classes {', '.join(lacking)}, missing from "
            f"{_shortened(class_names)}; known: {known}; {_HOW}"
        )
    return name, MAPS[name].numbers(class_names)


def _fold(name: str) -> str:
    return name.strip().casefold().replace("_", " ")


def _shortened(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", ... ({len(names)} classes)" if len(names) > most else "")
