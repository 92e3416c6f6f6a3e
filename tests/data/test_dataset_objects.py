"""Objects as data sets. `HubSet` stands in for `datasets.Dataset`, which the tests do not need: it has the
attributes that the library of that name (5.2) gives, and no others."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.data import dataset_objects
from noisylabels.data.catalog import default_augment, load


class Feature:
    def __init__(self, kind, names=None):
        self._type = kind
        if names is not None:
            self.names = names


class HubSet:
    """Rows by number, columns by name, and a description of the columns."""

    def __init__(self, columns, features):
        self.columns, self.features = columns, features

    @property
    def column_names(self):
        return list(self.columns)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, row):
        if isinstance(row, str):
            return self.columns[row]
        found = {name: column[row] for name, column in self.columns.items()}
        for name, value in found.items():
            if isinstance(value, bytes):  # decoded when it is asked for, as there
                found[name] = Image.open(io.BytesIO(value))
                found[name].load()
        return found


class Pairs(torch.utils.data.Dataset):
    """A map-style data set as PyTorch's users write them."""

    def __init__(self, images, labels, **attributes):
        self.images, self.labels = images, labels
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index >= len(self.images):
            raise IndexError(index)
        return self.images[index], self.labels[index]


NAMES = ["cat", "dog"]
LABELS = [0, 1, 1, 0, 1, 0, 1, 0, 1, 0]
ARRAYS = [np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8) for i in range(10)]
EXPECTED = np.stack(ARRAYS).transpose(0, 3, 1, 2)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def hub(rows=slice(None), image="img", label="label", names=NAMES, **more):
    columns = {image: [png(array) for array in ARRAYS[rows]], label: LABELS[rows], **more}
    kinds = {image: Feature("Image"), label: Feature("ClassLabel", names)}
    return HubSet(columns, kinds | {name: Feature("Value") for name in more})


FORMS = {
    "PIL": Image.fromarray,
    "tensor": lambda array: torch.from_numpy(array.transpose(2, 0, 1).copy()),
    "array": lambda array: array,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pair_of_pytorch_data_sets(form):
    made = [FORMS[form](array) for array in ARRAYS]
    train, test = nl.load((Pairs(made[:6], LABELS[:6], classes=NAMES), Pairs(made[6:], LABELS[6:])))
    assert (train.name, train.class_names) == ("Pairs", ("cat", "dog"))
    assert np.array_equal(train.images.numpy(), EXPECTED[:6])
    assert np.array_equal(test.images.numpy(), EXPECTED[6:])
    assert (train.labels.tolist(), test.labels.tolist()) == (LABELS[:6], LABELS[6:])
    assert (train.ids[5], test.ids[0]) == ("train:5", "test:0")
    assert train.notes == ()
    assert default_augment(Pairs(made, LABELS), train) == "crop:4+flip"


@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6)])
def test_gray_tensors(shape):
    gray = [torch.full(shape, i, dtype=torch.uint8) for i in range(10)]
    train, _ = load((Pairs(gray, LABELS), Pairs(gray, LABELS)))
    assert tuple(train.images.shape) == (10, 1, 5, 6)
    assert train.images[:, 0, 0, 0].tolist() == list(range(10))
    assert train.class_names == ("0", "1")


def test_one_set_gives_a_part_away():
    train, test = load(Pairs(ARRAYS, LABELS))
    assert test.labels.bincount().tolist() == [1, 1]
    assert "2 images (0.2 of each class) are held out" in train.notes[0]
    for part in (train, test):
        rows = [int(name.removeprefix("train:")) for name in part.ids]
        assert np.array_equal(part.images.numpy(), EXPECTED[rows])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"classes": ("cat", "dog", "eel")}, ("cat", "dog", "eel")),
        ({"class_to_idx": {"dog": 1, "cat": 0}}, ("cat", "dog")),
        ({"class_to_idx": {"dog": 7, "cat": 0}}, ("0", "1")),
        ({"class_to_idx": {"dog": 1, "cat": 0, "eel": 5}}, ("cat", "dog", "eel")),
        ({"classes": [0, 1]}, ("0", "1")),
    ],
)
def test_names_of_classes(attributes, expected):
    some = torch.utils.data.Subset(Pairs(ARRAYS, LABELS, **attributes), range(10))
    train, _ = load(torch.utils.data.Subset(some, range(9)))
    assert (train.class_names, train.name) == (expected, "Pairs")


def test_names_of_numbers_that_do_not_start_at_0():
    for more in ({}, {"classes": ["cat", "dog"]}):
        named = Pairs(ARRAYS, [label + 1 for label in LABELS], class_to_idx={"dog": 2, "cat": 1}, **more)
        train, test = load((named, named))
        assert train.class_names == ("cat", "dog")
        assert train.labels.tolist() == test.labels.tolist() == LABELS
    strange = Pairs(ARRAYS, LABELS, class_to_idx={"dog": 2, "cat": 1})
    train, _ = load((strange, strange))
    assert train.class_names == ("0", "1")
    assert "ignored class_to_idx, which has no class of the label 0" in train.notes


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, torch.tensor, np.array])
def test_labels_of_any_whole_kind(kind):
    assert (
        load((Pairs(ARRAYS, [kind(k) for k in LABELS]), Pairs(ARRAYS, LABELS)))[0].labels.tolist() == LABELS
    )


def test_a_list_of_pairs_will_do():
    rows = list(zip(ARRAYS, LABELS, strict=True))
    assert load((rows, rows))[0].labels.tolist() == LABELS


@pytest.mark.parametrize("image", ["image", "img", "picture"])
@pytest.mark.parametrize("label", ["label", "species"])
def test_a_hub_data_set(image, label):
    train, test = load((hub(slice(0, 6), image, label), hub(slice(6, 10), image, label)))
    assert train.class_names == ("cat", "dog")
    assert np.array_equal(train.images.numpy(), EXPECTED[:6])
    assert test.labels.tolist() == LABELS[6:]


def test_a_hub_dictionary_names_its_parts():
    parts = {"train": hub(slice(0, 6)), "validation": hub(slice(6, 10)), "unsupervised": hub()}
    train, test = load(parts)
    assert list(test.ids) == [f"validation:{i}" for i in range(4)]
    assert train.notes == ("ignored the parts unsupervised (10 examples)",)
    alone, held_out = load({"train": hub()})
    assert (len(alone), len(held_out)) == (8, 2)


def test_of_two_columns_of_labels_a_note_says_which():
    one = hub(label="coarse_label", fine_label=[1 - k for k in LABELS])
    one.features["fine_label"] = Feature("ClassLabel", ["x", "y"])
    train, _ = load((one, one))
    assert train.labels.tolist() == [1 - k for k in LABELS]
    assert train.notes == ("label column 'fine_label' used, 'coarse_label' ignored",)


def test_sizes_are_brought_together_as_for_files():
    mixed = [Image.fromarray(array).resize((20 + i, 30)) for i, array in enumerate(ARRAYS)]
    train, _ = load(Pairs(mixed, LABELS))
    assert tuple(train.images.shape) == (8, 3, 64, 64)
    assert any("10 sizes from 20x30 to 29x30 resized" in note for note in train.notes)
    assert tuple(load(Pairs(mixed, LABELS), image_size=16)[0].images.shape) == (8, 3, 16, 16)


def test_a_picture_of_any_mode_is_read_as_a_file_of_it_is(tmp_path):
    modes = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]
    pictures = [
        Image.fromarray(ARRAYS[i]).convert("L" if mode == "I;16" else mode) for i, mode in enumerate(modes)
    ]
    pictures[-1] = Image.fromarray(np.full((5, 6), 40_000, dtype=np.uint16))
    for kind in ("a", "b"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        (tmp_path / "test" / kind).mkdir(parents=True)
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / "train" / "ab"[i % 2] / f"{i}.{'tif' if picture.mode == 'CMYK' else 'png'}")
        picture.save(tmp_path / "test" / "ab"[i % 2] / f"{i}.{'tif' if picture.mode == 'CMYK' else 'png'}")
    files, _ = load(tmp_path)
    given, _ = load((Pairs(pictures, [0, 1] * 4), Pairs(pictures, [0, 1] * 4)))
    order = [int(name.rsplit("/")[-1][0]) for name in files.ids]
    assert np.array_equal(files.images.numpy(), given.images.numpy()[order])


def test_damaged_images_fail_or_are_left_out():
    damaged = hub()
    damaged.columns["img"][3] = b"damaged"
    damaged.columns["img"][4] = damaged.columns["img"][4][:-30]
    with pytest.raises(
        InputError, match=r"2 of 20 images cannot be read: train:3 \(not an image\), train:4 \("
    ):
        load((damaged, hub()))
    train, _ = load((damaged, hub()), bad_images="skip")
    assert list(train.ids) == [f"train:{i}" for i in (0, 1, 2, 5, 6, 7, 8, 9)]
    assert train.labels.tolist() == [0, 1, 1, 0, 1, 0, 1, 0]
    assert train.notes[0].startswith("left out 2 of 20 images that cannot be read: train:3")
    with pytest.raises(InputError, match=r"none of the 1 images can be read"):
        load(HubSet({"img": [b"x"], "label": [0]}, damaged.features), bad_images="skip")


@pytest.mark.parametrize("kind", ["columns", "pairs"])
def test_missing_images_fail_or_are_left_out(kind):
    gone = hub()
    gone.columns["img"][3] = None
    if kind == "pairs":
        gone = Pairs([None if i == 3 else image for i, image in enumerate(ARRAYS)], LABELS)
    with pytest.raises(InputError, match=r"1 of 20 images cannot be read: train:3 \(no image\)"):
        load((gone, hub()))
    train, _ = load((gone, hub()), bad_images="skip")
    assert "train:3" not in train.ids
    assert train.notes[0].startswith("left out 1 of 20 images that cannot be read: train:3")


def test_a_fault_of_the_object_is_not_hidden():
    class Faulty(Pairs):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load(Faulty(ARRAYS, LABELS), bad_images="skip")


def test_progress_is_told(monkeypatch):
    monkeypatch.setattr(dataset_objects, "_PIECE", 4)
    told = []
    load((Pairs(ARRAYS, LABELS), Pairs(ARRAYS, LABELS)), progress=lambda *what: told.append(what))
    assert told[-1] == ("decoding", 20, 20)
    assert ("reading sizes", 8, 20) in told


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([])


class HubStream:
    features, column_names = {}, []

    def __iter__(self):
        return iter([])


FLOAT = torch.linspace(-2, 2, 90).view(3, 5, 6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            HubStream(),
            r"the train part is a HubStream, expected a data set with a length.* nl.write_shards",
        ),
        ({"train": HubStream()}, r"nl.write_shards"),
        (
            3,
            r"the train part is a int, expected a data set with a length and examples that can be indexed$",
        ),
        (None, r"the train part is a NoneType"),
        (({"a": [1]}, {"b": [2]}), r"the train part is a dict, expected a data set with a length.* indexed$"),
        ((np.array(3), np.array(4)), r"the train part is a ndarray, expected a data set with a length"),
        (
            (torch.tensor(3), torch.tensor(4)),
            r"the train part is a Tensor, expected a data set with a length",
        ),
        (Pairs([], []), r"the train part, a Pairs, is empty"),
        ((Pairs(ARRAYS, LABELS),), r"tuple of 1, expected the pair \(train, test\)"),
        ((Pairs(ARRAYS, LABELS), "digits"), r"the test part is a str"),
        ({"test": Pairs(ARRAYS, LABELS)}, r"the parts test, but no 'train'; pass the pair"),
        (
            ARRAYS,
            r"train:0 is a ndarray, expected \(image, label\); pass arrays as the pair \(images, labels\)",
        ),
        (
            Pairs([FLOAT] * 10, LABELS),
            r"train:0: the image holds float32 values from -2 to 2, expected 0 to 1 or 0 to 255; .*normalize",
        ),
        (
            Pairs([torch.zeros(3, 0, 6, dtype=torch.uint8)] * 4, [0, 1] * 2),
            r"train:0: the image has no pixels, its size is 6x0",
        ),
        (
            Pairs([Image.fromarray(np.full((5, 6), 300, np.float32))] * 4, [0, 1] * 2),
            r"train:\d: the image is in the mode F: floating-point pixels .*; convert it to 8 bits",
        ),
        (Pairs([ARRAYS[0], "a.png"], [0, 1]), r"train:1: the image is a str, expected a PIL image"),
        (Pairs([torch.zeros(5, 6, 3, dtype=torch.uint8)], [0]), r"shape \(5, 6, 3\), expected .*\(C, H, W\)"),
        (Pairs([np.zeros((3, 5, 6), np.uint8)], [0]), r"shape \(3, 5, 6\), expected .*\(H, W, C\)"),
        (
            Pairs(ARRAYS, ["cat", {}] * 5),
            r"train:1: the label is '\{\}' \(dict\), expected text, an integer or a bool",
        ),
        (Pairs(ARRAYS, [0, 0.5] * 5), r"train:1: the label is 0.5, expected a class"),
        (Pairs(ARRAYS, [0, None] * 5), r"train:1: the label is missing"),
        (
            Pairs(ARRAYS, [torch.tensor([0, 1])] * 10),
            r"train:0: the label is 'tensor\(\[0, 1\]\)' \(Tensor\)",
        ),
        (
            Pairs(ARRAYS, [0, -1] * 5, classes=NAMES),
            r"train:1: the label is -1, .*; -1 marks an unlabeled row",
        ),
        (Pairs(ARRAYS, [0, 2] * 5, classes=NAMES), r"train:1: the label is 2, expected 0 to 1"),
        (Pairs(ARRAYS, [0] * 10), r"a single class, '0'"),
        (
            (Pairs(ARRAYS, LABELS, classes=NAMES), Pairs(ARRAYS, LABELS, classes=["a", "b"])),
            r"the train and the test part have different classes: cat, dog, ... and a, b",
        ),
        (
            HubSet(
                {"text": ["a"], "label": [0]},
                {"text": Feature("Value"), "label": Feature("ClassLabel", NAMES)},
            ),
            r"the train part has no image column; it has text, label, expected one called image",
        ),
        (
            HubSet({"img": [b"a"], "kind": [0]}, {"img": Feature("Image"), "kind": Feature("Value")}),
            r"the train part has no label column",
        ),
        (
            HubSet(
                {"img": [png(ARRAYS[0])] * 2, "label": ["cat", "cart"]},
                {"img": Feature("Image"), "label": Feature("ClassLabel", NAMES)},
            ),
            r"train:1: unknown class 'cart'; did you mean 'cat'\?",
        ),
    ],
)
def test_what_cannot_be_used_is_explained(source, message):
    with pytest.raises(InputError, match=message) as caught:
        load(source)
    assert "\n" not in str(caught.value)


def test_a_stream_of_pytorch_is_refused():
    with pytest.raises(InputError, match=r"the train part is a Stream, expected a data set with a length"):
        load(Stream())


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["cat", "dog"] * 5, ("cat", "dog")),
        ([True, False] * 5, ("False", "True")),
        ([np.int8(1), np.int8(2)] * 5, ("1", "2")),
        ([torch.tensor([7]), torch.tensor([9])] * 5, ("7", "9")),
    ],
)
def test_labels_of_any_kind_are_classes(labels, names):
    train, test = load(Pairs(ARRAYS, labels))
    assert train.class_names == names
    assert set(train.labels.tolist()) == set(test.labels.tolist()) == {0, 1}


def test_columns_of_a_hub_data_set_can_be_named():
    names = [f"p{row}" for row in range(10)]
    made = hub(label="verdict", key=names, label2=LABELS)
    train, test = load(made, label_column="verdict", id_column="key")
    assert {*train.ids, *test.ids} == set(names)
    assert train.class_names == ("cat", "dog")
    assert train.labels.tolist() == [LABELS[names.index(name)] for name in train.ids]
    with pytest.raises(InputError, match=r"the train part has no id column 'kee'.*'key'"):
        load(made, id_column="kee")
    with pytest.raises(InputError, match=r"the train part has no label column 'verdic'.*'verdict'"):
        load(made, label_column="verdic")
    audit = nl.audit_labels(made, label_column="verdict", id_column="key", probs=np.eye(2)[LABELS])
    assert list(audit.ids) == names
    assert not audit.flagged.any()
