"""Examples in memory: the same set and the same audit from every form of the same table."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import GridSearchCV

import noisylabels as nl
from data_forms import FILES, FORMS, pictures_of, rows_of
from noisylabels.core.checks import InputError
from noisylabels.data.in_memory import MOST_DENSE_BYTES

WORDS = ["p", "q", "p", "p", "q"] * 6
N = len(WORDS)
ROWS = rows_of(WORDS)
MADE = {"numbers": [3, 1, 1, 3, 1] * 6, "words": WORDS, "truth": [True, False, False] * 10}
OF_ROWS = ("csv", "tsv", "parquet", "npz", "npy", "arrays", "pandas", "pandas_frame", "polars",
           "polars_frame", "hugging_face_rows")  # fmt: skip
OF_PIXELS = ("image_npz", "image_parquet", "hugging_face")


@pytest.mark.parametrize("kind", MADE)
def test_every_form_gives_the_same_sets(kind, tmp_path):
    """The forms of rows give one set, and those of pixels without names of files another."""
    labels = MADE[kind]
    found = {}
    for form in (*OF_ROWS, *OF_PIXELS):
        (tmp_path / form).mkdir()
        train, test = nl.load(FORMS[form](tmp_path / form, labels).source)
        found[form] = (train.digest, test.digest, train.class_names, [*train.ids], [*test.ids])
    assert {form: found[form] for form in OF_ROWS} == dict.fromkeys(OF_ROWS, found["csv"])
    assert {form: found[form] for form in OF_PIXELS} == dict.fromkeys(OF_PIXELS, found["image_npz"])


@pytest.mark.parametrize("form", FORMS)
def test_one_hot_probabilities_of_the_given_labels_flag_nothing(form, tmp_path):
    made = FORMS[form](tmp_path, WORDS)
    probs = np.eye(2)[[("p", "q").index(label) for label in made.labels]]
    found = nl.audit_labels(made.source, probs=probs)
    assert not found.flagged.any()
    assert [found.class_names[k] for k in found.given] == made.labels
    if form not in FILES:
        assert list(found.ids) == made.ids


# One table, with everything that a frame may hold --------------------------------------------------------


def table() -> pd.DataFrame:
    """Numbers, words, categories, truth values and dates, with missing cells."""
    turn = np.array([label == "q" for label in WORDS])
    frame = pd.DataFrame(
        {
            "size": ROWS[:, 0].astype(float),
            "pet": np.where(turn, "cat", "dog"),
            "kind": pd.Categorical(np.where(np.arange(N) % 3, "u", "v")),
            "tame": np.arange(N) % 4 > 0,
            "legs": pd.array([4, 2, None] * 10, dtype="Int64"),
            "seen": pd.array([True, None, False] * 10, dtype="boolean"),
            "when": pd.date_range("2024-01-01", periods=N),
            "label": WORDS,
        },
        index=np.arange(N)[::-1],
    )
    frame.loc[frame.index[3], "size"] = np.nan
    frame.loc[frame.index[4], "pet"] = None
    return frame


def forms_of(frame: pd.DataFrame, folder) -> dict[str, object]:
    import datasets

    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "t.parquet")
    rest, y = frame.drop(columns="label"), frame["label"]
    return {
        "parquet": folder / "t.parquet",
        "frame": frame,
        "polars": pl.from_pandas(frame),
        "arrow": pa.Table.from_pandas(frame, preserve_index=False),
        "hugging face": datasets.Dataset.from_pandas(frame.reset_index(drop=True)),
        "X, y": (rest, y),
        "[X, y]": [rest, y],
        "X, list": (rest, y.tolist()),
        "X, tuple": (rest, tuple(y)),
        "X, array": (rest, y.to_numpy()),
        "X, column": (rest, y.to_numpy()[:, None]),
        "X, frame of y": (rest, y.to_frame()),
        "X, category": (rest, y.astype("category")),
        "X, Categorical": (rest, pd.Categorical(y)),
        "X, polars": (pl.from_pandas(rest), pl.Series(y.tolist())),
        "X, polars frame": (pl.from_pandas(rest), pl.DataFrame({"y": y.tolist()})),
        "dict": {"X": rest, "y": y},
    }


def test_a_frame_gives_the_set_of_its_parquet_file(tmp_path):
    sets = {name: nl.load(source) for name, source in forms_of(table(), tmp_path).items()}
    expected = sets["parquet"]
    assert "pet=cat" in expected[0].encoder.features
    assert "legs is missing" in expected[0].encoder.features
    for name, (train, test) in sets.items():
        for one, right in ((train, expected[0]), (test, expected[1])):
            assert one.digest == right.digest, name
            assert (one.class_names, list(one.ids)) == (right.class_names, list(right.ids)), name
            np.testing.assert_array_equal(one.rows, right.rows)
        assert train.encoder.features == expected[0].encoder.features, name
        assert any("dates: 'when'" in note for note in train.notes), name
    frame = table()
    frame.drop(columns=["when"]).to_csv(tmp_path / "t.csv", index=False)
    train, test = nl.load(tmp_path / "t.csv")
    assert (train.digest, test.digest) == (expected[0].digest, expected[1].digest)


def test_an_audit_takes_what_load_takes(tmp_path):
    sources = forms_of(table(), tmp_path)
    probs = np.eye(2)[[("p", "q").index(label) for label in WORDS]]
    found = {name: nl.audit_labels(source, probs=probs) for name, source in sources.items()}
    right = found.pop("frame")
    assert list(right.ids) == [f"row:{row}" for row in range(N)]
    for name, one in found.items():
        assert list(one.ids) == list(right.ids), name
        assert not one.flagged.any(), name
        if name != "parquet":  # its columns are encoded according to the training part
            assert one.summary["digest"] == right.summary["digest"], name
    alone = nl.audit_labels(table().drop(columns="label"), labels=table()["label"], probs=probs)
    assert alone.summary["digest"] == right.summary["digest"]


def test_ids_and_columns_that_are_no_features():
    frame = table().drop(columns="when").assign(id=[f"r{row}" for row in range(N)])
    train, test = nl.load(frame)
    assert sorted(set(train.ids) | set(test.ids)) == sorted(frame["id"])
    X = frame.drop(columns="id")  # the labels are still among the columns
    train, _ = nl.load((X, frame["label"].to_numpy()))
    assert any("the column repeats the labels: 'label'" in note for note in train.notes)
    assert not any("label" in name for name in train.encoder.features)
    train, _ = nl.load(frame.rename(columns={"label": "verdict"}), label_column="verdict")
    assert train.class_names == ("p", "q")
    train, _ = nl.load(frame.set_index("id"))
    assert any("reset_index" in note for note in train.notes)


def test_training_and_test_part():
    frame = table()
    for pair in (
        (frame, frame),
        {"train": frame, "test": frame},
        ((frame.drop(columns="label"), frame["label"]),) * 2,
    ):
        train, test = nl.load(pair)
        assert [*train.ids[:2], *test.ids[:2]] == ["train:0", "train:1", "test:0", "test:1"]
        assert train.digest == test.digest
        whole = nl.audit_labels(pair, part="train", probs=np.eye(2)[train.labels])
        assert len(whole) == N
    X, y = ROWS, WORDS
    train, test = nl.load({"x_train": X, "y_train": y, "x_test": X[:5], "y_test": y[:5]})
    assert (len(train), len(test)) == (N, 5)
    with pytest.raises(InputError, match="the test part lacks the column 'pet' that the train part has"):
        nl.load({"train": frame, "test": frame.drop(columns="pet")})


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_array"])
def test_a_sparse_matrix_is_its_dense_rows(kind):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((N, 6)) < 0.5, np.abs(rng.normal(size=(N, 6))), 0)
    sparse = getattr(scipy.sparse, kind)(X)
    for one, right in zip(nl.load((sparse, WORDS)), nl.load((X, WORDS)), strict=True):
        assert one.digest == right.digest
    probs = np.full((N, 2), 0.5)
    audits = [nl.audit_labels(rows, labels=WORDS, probs=probs) for rows in (sparse, X)]
    assert audits[0].summary["digest"] == audits[1].summary["digest"]
    model = nl.NoisyLabelClassifier(n_estimators=2, epochs=4, random_state=0)
    np.testing.assert_array_equal(
        clone(model).fit(sparse, WORDS).predict_proba(sparse), clone(model).fit(X, WORDS).predict_proba(X)
    )


def test_a_large_sparse_matrix_is_refused():
    side = int((MOST_DENSE_BYTES / 8) ** 0.5) + 1
    with pytest.raises(InputError, match=r"GiB as dense rows.*TruncatedSVD"):
        nl.load((scipy.sparse.csr_array((side, side)), np.arange(side) % 2))


@pytest.mark.parametrize("axes", ["NHWC", "NCHW", "NHW", "tensor", "list", "data set"])
def test_images_in_memory(axes):
    pixels = pictures_of(WORDS)
    images = {
        "NHWC": pixels,
        "NCHW": pixels.transpose(0, 3, 1, 2),
        "NHW": pixels[..., 0],
        "tensor": torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()),
        "list": list(pixels),
        "data set": None,
    }[axes]
    numbers = [int(label == "q") for label in WORDS]
    source = list(zip(pixels, numbers, strict=True)) if images is None else (images, WORDS)
    train, test = nl.load(source)
    expected = pixels.transpose(0, 3, 1, 2)[:, :1] if axes == "NHW" else pixels.transpose(0, 3, 1, 2)
    for part in (train, test):
        rows = [int(name.removeprefix("train:")) for name in part.ids]
        np.testing.assert_array_equal(part.images, expected[rows])
    found = nl.audit_labels(source, probs=np.eye(2)[numbers])
    assert list(found.ids) == [f"train:{row}" for row in range(N)]
    assert not found.flagged.any()


def test_parts_of_a_tensor_data_set_of_rows_are_rows():
    X, y = torch.from_numpy(ROWS.astype(np.float32)), torch.arange(N) % 2
    whole = torch.utils.data.TensorDataset(X, y)
    first, second = torch.utils.data.random_split(whole, [N - 4, 4])
    both = torch.utils.data.ConcatDataset([first, second])
    order = [*first.indices, *second.indices]
    for parts in ((first, second), [first, second], {"train": first, "test": second}):
        train, test = nl.load(parts)
        assert torch.equal(train.features, X[first.indices])
        assert torch.equal(test.features, X[second.indices])
        assert torch.equal(test.labels, y[second.indices])
    assert nl.load(both)[0].digest == nl.load((X[order], y[order]))[0].digest
    some = torch.utils.data.Subset(both, range(2, N))
    assert nl.load(some)[0].digest == nl.load((X[order[2:]], y[order[2:]]))[0].digest


class Shifted(torch.utils.data.TensorDataset):
    def __getitem__(self, row):
        x, y = super().__getitem__(row)
        return x, (y + 1) % 2


class Named(torch.utils.data.TensorDataset):
    pass


def test_parts_of_a_tensor_data_set_that_changes_its_rows_are_not_read_past_it():
    X, y = torch.from_numpy(ROWS.astype(np.float32)), torch.arange(N) % 2
    named = torch.utils.data.Subset(Named(X, y), range(N))
    assert nl.load(named)[0].digest == nl.load((X, y))[0].digest
    for whole in (Shifted(X, y), torch.utils.data.Subset(Shifted(X, y), range(N))):
        with pytest.raises(InputError, match=r"for rows of features pass the pair \(X, y\)"):
            nl.load(whole)


@pytest.mark.parametrize(
    "source",
    [
        torch.utils.data.Subset(torch.utils.data.TensorDataset(torch.zeros(9, 2), torch.arange(9)), [1, 200]),
        torch.utils.data.ConcatDataset(
            [torch.utils.data.TensorDataset(torch.zeros(9, k), torch.arange(9)) for k in (4, 5)]
        ),
    ],
    ids=["subset", "concatenation"],
)
def test_parts_of_tensor_data_sets_that_do_not_fit_are_one_line(source):
    with pytest.raises(InputError, match=r"^the (Subset|ConcatDataset) cannot be read: ") as error:
        nl.load(source)
    assert "\n" not in str(error.value)


class OwnRows(torch.utils.data.Dataset):
    def __len__(self):
        return N

    def __getitem__(self, row):
        return torch.from_numpy(ROWS[row].astype(np.float32)), row % 2


class Scaled(torch.utils.data.Subset):
    def __getitem__(self, row):
        x, y = super().__getitem__(row)
        return x / 2, y

    def __getitems__(self, rows):
        return [self[row] for row in rows]


def test_rows_that_a_data_set_of_ones_own_makes_are_refused_with_advice():
    rows = torch.utils.data.TensorDataset(torch.from_numpy(ROWS.astype(np.float32)), torch.arange(N) % 2)
    for source in (OwnRows(), Scaled(rows, range(N))):  # not read past what the class does to them
        with pytest.raises(InputError, match=r"the shape \(3,\), .*; for rows of features pass the pair"):
            nl.load(source)


def test_rows_of_other_kinds():
    X = ROWS.astype(float)
    right = nl.load((X, WORDS))[0].digest
    labels = torch.tensor([int(label == "q") for label in WORDS])
    for source in (
        (X.tolist(), WORDS),
        (X.astype(">f8"), WORDS),
        (torch.from_numpy(X), WORDS),
        {"data": X, "target": np.array(WORDS)},
    ):
        assert nl.load(source)[0].digest == right
    train, _ = nl.load(torch.utils.data.TensorDataset(torch.from_numpy(X), labels))
    assert train.class_names == ("0", "1")
    assert nl.load(load_iris())[0].class_names == ("setosa", "versicolor", "virginica")
    lacking = np.where(np.arange(N * 3).reshape(N, 3) % 7, X, np.nan)
    audited = nl.audit_labels(lacking, labels=WORDS, probs=np.full((N, 2), 0.5))
    assert audited.summary["kind"] == "features"
    pair = [[word, float(row)] for row, word in enumerate(WORDS * 2)]
    mixed, _ = nl.load((pair, WORDS * 2))
    assert mixed.encoder.features[:2] == ("0=p", "0=q")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((ROWS, WORDS[1:]), "got 29 labels for 30 examples"),
        ((ROWS, np.eye(2)[[0, 1, 0] * 10]), "one-hot"),
        ((ROWS, np.zeros((N, 1, 1))), "expected one label per example"),
        ((ROWS, None), "labels are missing"),
        (ROWS, r"labels are missing: got a ndarray of the shape \(30, 3\) alone; pass the pair"),
        ((ROWS, pd.date_range("2024", periods=N)), "dates, expected text, integers or bool"),
        (([{"a": 1}] * N, WORDS), "expected"),
        ((ROWS[:, 0], WORDS), r"expected numbers of the shape \(N, D\)"),
        (([[1.0], [1.0, 2.0]] * 15, WORDS), "rows of different lengths"),
        ((np.zeros((N, 4, 4, 4, 4)), WORDS), r"expected \(N, H, W\)"),
        (pl.LazyFrame({"u": [1], "label": ["a"]}), "call collect"),
        ((table(), table()["label"].sample(frac=1, random_state=0)), "same index in another order"),
        (table().drop(columns="label"), "has no label column"),
    ],
)
def test_what_does_not_fit_is_one_line(source, message):
    with pytest.raises(InputError, match=message) as caught:
        nl.load(source)
    assert "\n" not in str(caught.value)


# The estimator -------------------------------------------------------------------------------------------


@pytest.fixture
def model():
    return nl.NoisyLabelClassifier(n_estimators=2, epochs=6, random_state=0)


@pytest.mark.filterwarnings("ignore:X. left out", "ignore:X. missing cells")
def test_the_estimator_encodes_a_frame(model):
    X, y = table().drop(columns="label"), table()["label"]
    probs = model.fit(X, y).predict_proba(X)
    assert model.score(X, y) > 0.9
    assert model.feature_names_in_.tolist() == list(X.columns)
    assert model.n_features_in_ == len(X.columns)
    for same in (X[X.columns[::-1]], pl.from_pandas(X), X.reset_index(drop=True), X.drop(columns="when")):
        np.testing.assert_array_equal(model.predict_proba(same), probs)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), probs)
    np.testing.assert_array_equal(clone(model).fit(pl.from_pandas(X), y.tolist()).predict_proba(X), probs)
    for other, message in (
        (X.drop(columns="pet"), "X lacks the column 'pet'"),
        (X.assign(more=1), "X has the column 'more'"),
        (X.to_numpy(), "expected a data frame with the columns of training"),
    ):
        with pytest.raises(InputError, match=message):
            model.predict(other)
    with pytest.warns(UserWarning, match="unknown from training.*'eel'"):
        model.predict(X.assign(pet="eel"))
    search = GridSearchCV(model, {"dropout": [0.0, 0.25]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.8


def test_the_estimator_says_what_it_leaves_out(model):
    X, y = table().drop(columns="label"), table()["label"]
    with pytest.warns(UserWarning, match="left out, dates: 'when'"):
        model.fit(X, y)
    with pytest.warns(DataConversionWarning):
        model.fit(X.drop(columns="when"), y.to_numpy()[:, None])
    with pytest.raises(InputError, match=r"one-hot, .*y\.argmax"):
        model.fit(ROWS, np.eye(2)[[0, 1, 0] * 10])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X.drop(columns="when"), y[1:])


def test_a_number_that_is_missing_for_the_first_time(model):
    frame = pd.DataFrame(ROWS, columns=list("uvw"))
    model.fit(frame, WORDS)
    gap = frame.copy()
    gap.loc[5, "v"] = np.nan
    with pytest.warns(UserWarning, match=r"missing numbers \(1\), of which training had none"):
        probs = model.predict_proba(gap)
    gap.loc[5, "v"] = frame["v"].median()
    np.testing.assert_array_equal(model.predict_proba(gap), probs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(frame)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(ROWS.max() - 1e-6 < ROWS, np.nan, ROWS), WORDS)


def test_image_set_takes_arrays_in_the_usual_orders_of_axes():
    pixels = pictures_of(WORDS)
    labels = [int(label == "q") for label in WORDS]
    sets = [nl.image_set(images, labels, ("p", "q")) for images in (pixels, pixels.transpose(0, 3, 1, 2))]
    assert sets[0].digest == sets[1].digest
    assert nl.image_set(pixels[..., 0], labels, ("p", "q")).images.shape == (N, 1, 12, 12)


@pytest.mark.parametrize("name", [2, np.int64(2), "2", ("A", "kind")])
def test_columns_of_a_frame_may_be_numbers_or_tuples(name):
    labels = np.arange(40) % 2
    frame = pd.DataFrame(np.c_[np.random.default_rng(0).normal(size=(40, 2)), labels])
    if isinstance(name, tuple):
        frame.columns = pd.MultiIndex.from_tuples([("A", "x"), ("A", "y"), name])
    train, test = nl.load(frame, label_column=name)
    assert train.num_classes == 2
    assert train.features.shape[1] == 2
    assert len(train) + len(test) == 40
    audit = nl.audit_labels(frame, label_column=name, probs=np.eye(2)[labels])
    assert audit.given.tolist() == labels.tolist()
    assert audit.summary["label_column"] == str(name)


@pytest.mark.parametrize("option", ["label_column", "id_column", "text_column"])
@pytest.mark.parametrize("value", [["x"], True, b"x", 7])
def test_a_name_of_a_column_that_is_none_is_one_line(option, value):
    frame = pd.DataFrame({"x": np.arange(12.0), "label": ["a", "b"] * 6})
    message = r"no \w+ column '7'; known: x, label" if value == 7 else rf"^{option} is .*, expected the name"
    for read in (nl.load, nl.audit_labels):
        with pytest.raises(InputError, match=message):
            read(frame, **{option: value})
