"""Chains of noise stages: what each transform changes, and what it leaves unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.rng import uniforms
from noisylabels.noise import NoisyLabels, corrupt, pairflip, sample, symmetric
from noisylabels.noise.imbalance import long_tail, step
from noisylabels.noise.instance import feature_projection, part_dependent

LABELS = np.arange(6000) % 6


def images_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.integers(60, 190, (labels.max() + 1, 1, 3, 3))
    return (centers[labels] + rng.integers(-50, 50, (len(labels), 1, 3, 3))).astype(np.uint8)


def within(share: np.ndarray, expected: np.ndarray, n: np.ndarray | int, sigmas: float = 5) -> bool:
    return bool((abs(share - expected) <= sigmas * np.sqrt(expected * (1 - expected) / n) + 1e-12).all())


# Long tails


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.1, 0.01, 1e-6])
def test_long_tail_by_the_formula(ratio: float) -> None:
    labels = np.repeat(np.arange(10), 5000)
    kept = corrupt(labels, f"longtail:{ratio!r}", num_classes=10)
    wanted = [max(int(5000 * ratio ** (k / 9) + 1e-6), 1) for k in range(10)]
    assert kept.counts.diagonal().tolist() == wanted
    assert kept.rate == 0
    assert len(kept) == sum(wanted)
    halves = corrupt(labels, f"longtail:{ratio!r}@step", num_classes=10)
    assert halves.counts.diagonal().tolist() == [5000] * 5 + [max(int(5000 * ratio + 1e-6), 1)] * 5


def test_cifar_100_lt_has_the_sizes_of_the_literature() -> None:
    sizes = long_tail(np.full(10, 5000), 0.01)  # Cui et al. 2019: CIFAR-10-LT of the imbalance factor 100
    assert sizes.tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert long_tail(np.full(100, 500), 0.01).sum() == 10_847


def test_long_tails_of_uneven_classes() -> None:
    sizes = np.array([10, 0, 100, 3])
    assert long_tail(sizes, 0.1).tolist() == [10, 0, 21, 3]  # 100 r^(k/3): 100, 46.4, 21.5, 10
    assert step(sizes, 0.02).tolist() == [10, 0, 2, 2]


def test_a_long_tail_is_nested_and_keeps_order_and_labels() -> None:
    whole = corrupt(LABELS, "symmetric:0.4", seed=3)
    tails = [corrupt(LABELS, f"longtail:{ratio} | symmetric:0.4", seed=3) for ratio in (0.5, 0.1)]
    for tail in tails:
        assert tail.index is not None
        assert (np.diff(tail.index) > 0).all()
        assert np.array_equal(tail.given, whole.given[tail.index])  # as without the tail
        assert np.array_equal(tail.true, LABELS[tail.index])
        assert np.array_equal(tail.nominal, symmetric(6, 0.4))
        assert within(tail.realized, symmetric(6, 0.4), tail.counts.sum(axis=1, keepdims=True))
    assert set(tails[1].index) < set(tails[0].index)
    again = corrupt(LABELS, "longtail:0.1", seed=4)
    assert set(again.index) != set(tails[1].index)


# Chains


def test_a_chain_is_the_product_of_its_matrices() -> None:
    noisy = corrupt(np.repeat(LABELS, 10), "pairflip:0.3 | symmetric:0.2", seed=1)
    product = pairflip(6, 0.3) @ symmetric(6, 0.2)
    assert noisy.nominal is not None
    assert np.allclose(noisy.nominal, product, rtol=0, atol=1e-15)
    assert within(noisy.realized, product, 10_000)


def test_two_stages_of_one_noise_draw_anew() -> None:
    once = corrupt(LABELS, "symmetric:0.5", seed=2)
    twice = corrupt(LABELS, "symmetric:0.5 | symmetric:0.5", seed=2)
    among = twice.given[once.flipped]
    # of those flipped once, half flip again, and a fifth of these goes back
    assert within(np.mean(among == LABELS[once.flipped]), np.float64(0.5 / 5), int(once.flipped.sum()))


def test_two_named_maps_keep_their_matrix(tmp_path: Path) -> None:
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    names += [str(k) for k in range(10)]
    both = corrupt(np.arange(20_000) % 20, "asymmetric:0.4@cifar10|asymmetric:0.2@digits", class_names=names)
    T = both.nominal
    assert T is not None
    assert T[3, 5] == pytest.approx(0.4)  # a cat as a dog
    assert T[17, 11] == pytest.approx(0.2)  # a 7 as a 1
    assert within(both.realized, T, 1000)
    both.save(tmp_path / "both.parquet")
    assert np.array_equal(NoisyLabels.load(tmp_path / "both.parquet").nominal, T)


# A matrix of one's own


T3 = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize("make", [np.array, np.ndarray.tolist, torch.tensor], ids=["array", "list", "tensor"])
def test_a_matrix_is_drawn_from_as_sample_does(make) -> None:
    labels = np.arange(9000) % 3
    noisy = corrupt(labels, make(T3), seed=5)
    assert np.array_equal(noisy.given, sample(labels, T3, seed=5))
    assert np.array_equal(noisy.nominal, T3)
    assert within(noisy.realized, T3, 3000)
    assert noisy.spec == "matrix"


def test_a_matrix_from_a_file(tmp_path: Path) -> None:
    labels = np.arange(900) % 3
    np.save(tmp_path / "T.npy", T3)
    (tmp_path / "T.csv").write_text("\n".join(",".join(map(str, row)) for row in T3.tolist()))
    (tmp_path / "named.tsv").write_text("\tc\ta\tb\nb\t0\t0\t1\na\t0\t.5\t.5\nc\t.5\t.2\t.3\n")
    by_array = corrupt(labels, T3, seed=5)
    for name in ("T.npy", "T.csv", "named.tsv"):
        noisy = corrupt(labels, f"matrix:{tmp_path / name}", seed=5, class_names=["a", "b", "c"])
        assert np.array_equal(noisy.given, by_array.given), name
        assert np.array_equal(noisy.nominal, T3)
    chained = corrupt(labels, f"symmetric:0.3 | matrix:{tmp_path / 'T.npy'}", seed=5)
    assert chained.nominal is not None
    assert np.allclose(chained.nominal, symmetric(3, 0.3) @ T3)
    chained.save(tmp_path / "labels.parquet")
    (tmp_path / "T.npy").unlink()
    assert np.array_equal(NoisyLabels.load(tmp_path / "labels.parquet").nominal, chained.nominal)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.5,0.5\n0.5,0.5", "has 2 rows and 2 columns, expected 3 by 3 numbers for 3 classes, with or"),
        ("", "has 0 rows and 0 columns, expected 3 by 3"),
        ("1,0,0\n0,1,0\n0,0.2,0.7", "row 2 of the transition matrix sums to 0.9, expected 1"),
        ("1,0,0\n0,1,0\n0,0.2,nan", "row 2 of the transition matrix has nan at column 2, expected"),
        ("1,0,0\n0,1,0\n0,0.2,much", "line 3 of .* has 'much', expected a number in"),
        ("1,0,0\n0,1,0\n0,1", "line 3 of .* has 2 cells, expected 3"),
        ("a,b,d\n1,0,0\n0,1,0\n0,0,1", "has the name 'd', which is no class; known: a, b, c"),
        ("a,b,b\n1,0,0\n0,1,0\n0,0,1", "has the class 'b' 2 times, expected once"),
    ],
)
def test_a_file_that_is_no_matrix(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "T.csv").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        corrupt([0, 1, 2], f"matrix:{tmp_path / 'T.csv'}", class_names=["a", "b", "c"])
    assert "\n" not in str(error.value)


def test_other_files_that_are_no_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "T.npy", np.eye(2))
    with pytest.raises(InputError, match=r"holds an array of shape \(2, 2\), expected \(3, 3\)$"):
        corrupt([0, 1, 2], f"matrix:{tmp_path / 'T.npy'}")
    np.save(tmp_path / "o.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(InputError, match=r"o\.npy holds Python objects, which are not read"):
        corrupt([0, 1, 2], f"matrix:{tmp_path / 'o.npy'}")
    with pytest.raises(InputError, match=r"^there is no file .*missing.csv$"):
        corrupt([0, 1, 2], f"matrix:{tmp_path / 'missing.csv'}")
    (tmp_path / "T.json").write_text("[]")
    with pytest.raises(InputError, match=r"is not a file of a matrix, expected one of .csv, .tsv, .npy$"):
        corrupt([0, 1, 2], f"matrix:{tmp_path / 'T.json'}")
    for wrong in (None, 3.0):
        with pytest.raises(InputError, match=r"expected text such as 'symmetric:0.4' or a \(K, K\) matrix"):
            corrupt([0, 1, 2], wrong)
    with pytest.raises(InputError, match="num_classes is 4, expected 3 for 3 rows in the transition matrix"):
        corrupt([0, 1, 2], T3, num_classes=4)


def test_names_in_a_file_that_are_numbers_of_other_classes(tmp_path: Path) -> None:
    folders = sorted(map(str, range(12)))  # 0, 1, 10, 11, 2, ...
    T = np.eye(12)
    T[2] = T[[2, 3]].mean(axis=0)
    head = ",".join(map(str, range(12)))
    (tmp_path / "T.csv").write_text(head + "\n" + "\n".join(",".join(map(str, row)) for row in T.tolist()))
    spec = f"matrix:{tmp_path / 'T.csv'}"
    with pytest.raises(InputError, match="has '10', which is the name of class 2 and the number of another"):
        corrupt(np.arange(12), spec, class_names=folders)
    by_number = corrupt(np.arange(12), spec, class_names=[f"c{k}" for k in range(12)])
    assert np.array_equal(by_number.nominal, T)
    in_order = corrupt(np.arange(12), spec, class_names=[str(k) for k in range(12)])
    assert np.array_equal(in_order.nominal, T)


@pytest.mark.parametrize(("names", "first"), [("10", 0), ("021", 1), ("01243", 3)])
def test_the_class_whose_name_is_the_number_of_another_is_named(
    tmp_path: Path, names: str, first: int
) -> None:
    K = len(names)
    lines = [",".join(map(str, range(K))), *(",".join(map(str, row)) for row in np.eye(K).tolist())]
    (tmp_path / "T.csv").write_text("\n".join(lines))
    message = f"has '{names[first]}', which is the name of class {first} and the number of another"
    with pytest.raises(InputError, match=message):
        corrupt(np.arange(K), f"matrix:{tmp_path / 'T.csv'}", class_names=list(names))


def test_integers_in_a_file_that_are_names_of_other_classes(tmp_path: Path) -> None:
    np.save(tmp_path / "given.npy", np.array([1, 2, 1, 2]))
    spec = f"labels:{tmp_path / 'given.npy'}"
    with pytest.raises(InputError, match="has the label 1, which is the name of class 0 and the number of"):
        corrupt([0, 1, 2, 0], spec, class_names=["1", "2", "3"])
    for names in (["0", "1", "2"], ["cat", "dog", "eel"]):
        assert corrupt([0, 1, 2, 0], spec, class_names=names).given.tolist() == [1, 2, 1, 2]
    np.save(tmp_path / "given.npy", np.array([1, 2, 3, 2]))  # 3 is no class number, so they are names
    assert corrupt([0, 1, 2, 0], spec, class_names=["1", "2", "3"]).given.tolist() == [0, 1, 2, 1]


# Noise that depends on the image


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("instance", part_dependent),
        ("instance:0.3@parts", lambda *a: part_dependent(*a, parts=10)),
        ("projection", feature_projection),
    ],
)
def test_labels_are_drawn_from_the_rows_of_the_images(kind: str, function) -> None:
    spec = kind if ":" in kind else f"{kind}:0.3"
    images = images_of(LABELS)
    noisy = corrupt(LABELS, spec, images=torch.from_numpy(images), seed=4)
    rows = function(images, LABELS, 0.3, 6, 4)
    # by a loop: the first number says whether, the second where to
    u, v = (uniforms(len(LABELS), 4, "noise", word) for word in ("flip", "class"))
    for n in range(0, len(LABELS), 37):
        y, row = LABELS[n], rows[n].copy()
        expected = y
        if u[n] < 1 - row[y]:
            row[y] = 0
            reached, k = row[0], 0
            while reached <= v[n] * row.sum():
                k += 1
                reached += row[k]
            expected = k
        assert noisy.given[n] == expected
    means = np.stack([rows[k == LABELS].mean(axis=0) for k in range(6)])
    assert noisy.nominal is not None
    assert np.allclose(noisy.nominal, means, rtol=0, atol=1e-15)
    # the variance of a sum of different coins is at most that of equal ones
    assert within(noisy.realized, means, 1000)


@pytest.mark.parametrize("kind", ["instance", "projection"])
def test_rates_of_images_are_nested(kind: str) -> None:
    images = images_of(LABELS)
    low, high = (corrupt(LABELS, f"{kind}:{rate}", images=images, seed=1) for rate in (0.1, 0.4))
    assert (low.flipped <= high.flipped).all()
    assert abs(high.rate - 0.4) < 0.03


def test_images_after_and_before_other_noise(tmp_path: Path) -> None:
    images = images_of(LABELS)
    tail = corrupt(LABELS, "longtail:0.2 | instance:0.3", images=images, seed=1)
    assert tail.index is not None
    rows = part_dependent(images, LABELS, 0.3, 6, 1)[tail.index]  # as with all the others there
    assert np.allclose(tail.nominal[0], rows[tail.true == 0].mean(axis=0))
    whole = corrupt(LABELS, "instance:0.3", images=images, seed=1)
    assert np.array_equal(tail.given, whole.given[tail.index])
    before = corrupt(LABELS, "instance:0.3 | symmetric:0.2", images=images, seed=1)
    alone = corrupt(LABELS, "instance:0.3", images=images, seed=1)
    assert np.allclose(before.nominal, alone.nominal @ symmetric(6, 0.2))
    assert within(before.realized, before.nominal, 1000)
    after = corrupt(LABELS, "symmetric:0.2 | instance:0.3", images=images, seed=1)
    assert within(after.realized, after.nominal, 1000)
    after.save(tmp_path / "after.parquet")
    assert np.array_equal(NoisyLabels.load(tmp_path / "after.parquet").nominal, after.nominal)


def test_images_are_needed_and_must_fit() -> None:
    with pytest.raises(
        InputError, match=r"^instance noise depends on the images, and none are given; pass imag"
    ):
        corrupt(LABELS, "instance:0.3")
    with pytest.raises(
        InputError, match=r"^there are 9 images and 6000 labels, expected one label per image$"
    ):
        corrupt(LABELS, "projection:0.3", images=images_of(LABELS)[:9])
    with pytest.raises(InputError, match="comes after foreign images, which it cannot use; write it first"):
        corrupt(LABELS, "openset:0.1@x | instance:0.3", images=images_of(LABELS), foreign=6000)


# Foreign images


def test_open_set_noise() -> None:
    noisy = corrupt(LABELS, "openset:0.3@other", seed=1, foreign=2500)
    assert noisy.foreign is not None
    here = noisy.foreign >= 0
    assert within(here.mean(), np.float64(0.3), 6000)
    assert np.array_equal(noisy.given, LABELS)  # labels stay
    assert (noisy.true[here] == -1).all()
    assert np.array_equal(noisy.true[~here], LABELS[~here])
    used = noisy.foreign[here]
    assert len(set(used.tolist())) == here.sum()  # each foreign image once
    assert used.max() < 2500
    assert used.max() > 2000
    assert np.array_equal(noisy.flipped, here)
    assert noisy.rate == here.mean()
    assert np.array_equal(noisy.nominal, np.eye(6))
    assert noisy.counts.sum() == (~here).sum()
    low = corrupt(LABELS, "openset:0.1@other", seed=1, foreign=2500)
    at_low = low.foreign >= 0
    assert np.array_equal(low.foreign[at_low], noisy.foreign[at_low])  # nested, image by image


def test_open_set_noise_of_an_exact_share() -> None:
    noisy = corrupt(LABELS, "openset:0.29@other,exact", seed=1, foreign=6000)
    here = noisy.foreign >= 0
    assert np.bincount(LABELS[here]).tolist() == [290] * 6


def test_foreign_images_among_other_noise() -> None:
    labels = np.repeat(LABELS, 5)
    noisy = corrupt(labels, "openset:0.2@o | symmetric:0.4", seed=1, foreign=30_000)
    alone = corrupt(labels, "symmetric:0.4", seed=1)
    assert np.array_equal(noisy.given, alone.given)  # one noise leaves the other as it was
    assert abs(noisy.rate - (0.2 + 0.8 * 0.4)) < 5 * np.sqrt(0.25 / 30_000)
    assert within(noisy.realized, symmetric(6, 0.4), 3500)
    turned = corrupt(labels, "symmetric:0.4 | openset:0.2@o", seed=1, foreign=30_000)
    assert np.array_equal(turned.true, noisy.true)


def test_foreign_images_are_needed_and_enough() -> None:
    with pytest.raises(
        InputError,
        match=r"^openset noise needs foreign images, and none are given; pass their number as foreign=",
    ):
        corrupt(LABELS, "openset:0.3@other")
    with pytest.raises(InputError, match=r"^openset:0.3@other needs 18\d\d foreign images, and there"):
        corrupt(LABELS, "openset:0.3@other", foreign=100)


# Labels from files


def test_labels_from_files_are_taken_as_they_are(tmp_path: Path) -> None:
    given = (LABELS + (np.arange(6000) % 7 == 0)) % 6
    np.save(tmp_path / "given.npy", given)
    noisy = corrupt(LABELS, f"labels:{tmp_path / 'given.npy'}")
    assert np.array_equal(noisy.given, given)
    assert np.array_equal(noisy.true, LABELS)
    assert noisy.nominal is None
    tail = corrupt(LABELS, f"longtail:0.1 | labels:{tmp_path / 'given.npy'} | symmetric:0.2", seed=1)
    assert tail.index is not None
    assert np.array_equal(tail.true, LABELS[tail.index])
    again = corrupt(given, "symmetric:0.2", seed=1)
    assert np.array_equal(tail.given, again.given[tail.index])
    assert tail.nominal is None


def test_labels_by_ids_bring_their_own_truth(tmp_path: Path) -> None:
    ids = [f"{n}.png" for n in range(4)]
    (tmp_path / "l.csv").write_text("id,given,true\n3.png,b,a\n0.png,a,b\n1.png,b,b\n2.png,a,a\n")
    noisy = corrupt([0, 1, 0, 1], f"labels:{tmp_path / 'l.csv'}", class_names=["a", "b"], ids=ids)
    assert noisy.given.tolist() == [0, 1, 0, 1]
    assert noisy.true.tolist() == [1, 1, 0, 0]
    with pytest.raises(
        InputError, match="agree with those of the set for 2 of 4 examples: the file belongs to another"
    ):
        corrupt([0, 1, 0, 1], f"labels:{tmp_path / 'l.csv'}", class_names=["a", "b"])
    with pytest.raises(InputError, match="there are 4 ids and 3 labels, expected one id per label"):
        corrupt([0, 1, 0], "none", ids=ids)


def test_labels_that_an_earlier_noise_saved(tmp_path: Path) -> None:
    for spec in ("asymmetric:0.4@digits", "longtail:0.3 | symmetric:0.4"):
        noisy = corrupt(np.arange(1000) % 10, spec, seed=6)
        noisy.save(tmp_path / "l.parquet")
        back = corrupt(np.arange(1000) % 10, f"labels:{tmp_path / 'l.parquet'}")
        assert np.array_equal(back.given, noisy.given)
        assert np.array_equal(back.true, noisy.true)
        if noisy.index is not None:
            assert np.array_equal(back.index, noisy.index)
        tail = corrupt(np.arange(1000) % 10, f"longtail:0.1 | labels:{tmp_path / 'l.parquet'}", seed=6)
        kept = set(range(1000)) if noisy.index is None else set(noisy.index.tolist())
        assert set(tail.index.tolist()) <= kept
    with pytest.raises(InputError, match=r"the true labels in .* agree with those of the set for"):
        corrupt((np.arange(1000) + 1) % 10, f"labels:{tmp_path / 'l.parquet'}")
    with pytest.raises(InputError, match=r"has [0-9]+ labels, expected 20, one per example"):
        corrupt(np.arange(20) % 10, f"labels:{tmp_path / 'l.parquet'}")
    corrupt(np.arange(1000) % 10, "openset:0.1@o", foreign=1000).save(tmp_path / "o.parquet")
    with pytest.raises(
        InputError, match="has labels of foreign images, but not the images; generate the noise"
    ):
        corrupt(np.arange(1000) % 10, f"labels:{tmp_path / 'o.parquet'}")


def test_human_labels_by_name(tmp_path: Path) -> None:
    clean = np.arange(50) % 10
    worse = np.where(np.arange(50) % 3 == 0, (clean + 1) % 10, clean)
    pq.write_table(pa.table({"clean_label": clean, "worse_label": worse}), tmp_path / "h.parquet")
    noisy = corrupt(clean, f"human:{tmp_path / 'h.parquet'}@worst")
    assert noisy.spec == f"human:{tmp_path / 'h.parquet'}@worse"
    assert np.array_equal(noisy.given, worse)
    assert np.array_equal(noisy.true, clean)
    assert noisy.nominal is None
    with pytest.raises(InputError, match="agree with those of the data set for 0 of 50"):
        corrupt((clean + 1) % 10, f"human:{tmp_path / 'h.parquet'}@worse")
    with pytest.raises(InputError, match=r"has no column 'wrose', only: worse .*; did you mean 'worse'"):
        corrupt(clean, f"human:{tmp_path / 'h.parquet'}@wrose")


# The record


def test_chains_are_saved_and_loaded_whole(tmp_path: Path) -> None:
    noisy = corrupt(LABELS, "longtail:0.5 | openset:0.2@o | symmetric:0.3", seed=2, foreign=5000)
    noisy.save(tmp_path / "l.parquet")
    back = NoisyLabels.load(tmp_path / "l.parquet")
    for name in ("given", "true", "index", "foreign", "nominal", "spec", "pairs", "seed", "digest"):
        assert np.array_equal(getattr(back, name), getattr(noisy, name)), name
    assert pq.read_table(tmp_path / "l.parquet").schema.names == [
        "given",
        "true",
        "flipped",
        "index",
        "foreign",
    ]


def test_the_digest_tells_index_and_foreign_apart() -> None:
    base = {"given": [0, 1], "true": [0, 0], "spec": "annotators", "seed": 0, "num_classes": 2}
    variants = [
        base,
        {**base, "index": [0, 1]},
        {**base, "index": [0, 2]},
        {**base, "true": [0, -1], "foreign": [-1, 0]},
        {**base, "true": [0, -1], "foreign": [-1, 1]},
        {**base, "true": [0, -1], "foreign": [-1, 1], "index": [0, 1]},
    ]
    assert len({NoisyLabels(**variant).digest for variant in variants}) == len(variants)
    assert NoisyLabels(**base, expected=np.eye(2)).digest == NoisyLabels(**base).digest


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"index": [1, 0]}, "index is not 2 positions in ascending order"),
        ({"index": [0]}, "index is not 2 positions in ascending order"),
        ({"index": [-1, 0]}, "index is not 2 positions in ascending order"),
        ({"foreign": [-1, 0]}, "true labels do not match the foreign images, expected -1 for exactly those"),
        (
            {"true": [-1, -1], "foreign": [-1, 0]},
            "true labels do not match the foreign images, expected -1 for exactly those",
        ),
        ({"true": [-1, 0]}, "true labels[0] is -1, expected an integer from 0 to 1"),
        ({"expected": np.eye(3)}, "the expected matrix has 3 rows, expected 2 for 2 classes"),
        ({"expected": np.ones((2, 2))}, "row 0 of the transition matrix sums to 2, expected 1"),
    ],
)
def test_records_that_do_not_fit(more: dict, message: str) -> None:
    base = {"given": [0, 1], "true": [0, 0], "spec": "annotators", "seed": 0, "num_classes": 2}
    with pytest.raises(InputError) as error:
        NoisyLabels(**{**base, **more})
    assert message in str(error.value)


# Every pair of noises, in either order


KINDS_OF_NOISE = (
    "longtail:0.2",
    "longtail:0.3@step",
    "symmetric:0.3",
    "symmetric:0.3@exact",
    "symmetric:0.3@uniform",
    "asymmetric:0.4@0to1,2to3",
    "asymmetric:0.4@0to1,1to0,sequential",
    "pairflip:0.3",
    "matrix:{folder}/T.npy",
    "instance:0.3",
    "projection:0.3",
    "openset:0.2@other",
)


@pytest.mark.parametrize("second", KINDS_OF_NOISE)
@pytest.mark.parametrize("first", KINDS_OF_NOISE)
def test_realized_is_nominal_in_every_chain_of_two(tmp_path: Path, first: str, second: str) -> None:
    labels = np.repeat(np.arange(4), 3000)
    np.save(
        tmp_path / "T.npy", np.array([[0.7, 0.3, 0, 0], [0, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1]])
    )
    chain = f"{first} | {second}".format(folder=tmp_path)

    def make() -> NoisyLabels:
        return corrupt(labels, chain, images=images_of(labels), seed=7, foreign=12_000)

    impossible = (second.startswith("longtail") and not first.startswith(("longtail", "openset"))) or (
        first.startswith("openset") and second.startswith(("instance", "projection", "openset"))
    )
    if impossible:
        with pytest.raises(InputError, match=r"write it first|leave one out"):
            make()
        return
    noisy = make()
    assert noisy.nominal is not None
    n = np.maximum(noisy.counts.sum(axis=1, keepdims=True), 1)
    assert within(noisy.realized, noisy.nominal, n)
    noisy.save(tmp_path / "l.parquet")
    assert np.array_equal(NoisyLabels.load(tmp_path / "l.parquet").nominal, noisy.nominal)


def test_pairs_and_a_named_map_in_one_chain() -> None:
    labels = np.arange(60_000) % 10
    for chain in (
        "asymmetric:0.2@0to1 | asymmetric:0.4@cifar10",
        "asymmetric:0.4@cifar10 | asymmetric:0.2@0to1",
    ):
        noisy = corrupt(labels, chain, num_classes=10, seed=1)
        assert noisy.nominal[3, 5] == pytest.approx(0.4)
        assert within(noisy.realized, noisy.nominal, 6000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spec": [[1], [1, 0]]}, "the transition matrix is not an array of numbers"),
        (
            {"spec": [[30, 7], [1, 9]]},
            "row 0 of the transition matrix sums to 37, expected 1; if these are coun",
        ),
        ({"foreign": 2.5}, "foreign is 2.5, expected the number of foreign images, 1 or more"),
        ({"foreign": -1}, "foreign is -1, expected the number"),
        ({"foreign": [1]}, "foreign is list, expected the number"),
        ({"ids": 5}, "ids are a int, expected a list of names"),
        ({"ids": "ab"}, "ids are a str, expected a list of names"),
        ({"spec": "instance:0.3", "images": 5}, "images are a int, expected a uint8 array or tensor"),
        ({"spec": {"a": 1}}, "the transition matrix is not an array of numbers"),
    ],
)
def test_arguments_of_another_kind(given: dict, message: str) -> None:
    arguments = {"labels": [0, 1], "spec": "symmetric:0.1", **given}
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as error:
        corrupt(arguments.pop("labels"), arguments.pop("spec"), **arguments)
    assert "\n" not in str(error.value)


def test_a_matrix_that_has_a_gradient_will_do() -> None:
    T = torch.tensor(T3, requires_grad=True)
    assert np.array_equal(corrupt(np.arange(9) % 3, T, seed=5).given, sample(np.arange(9) % 3, T3, seed=5))
