"""Examples discarded in one round of audit and review stay discarded in the next."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.audit.review.export import export
from noisylabels.audit.review.session import Session
from noisylabels.core.checks import InputError


@pytest.mark.parametrize("kind", ["ids", "rows", "images"])
def test_discarded_examples_stay_discarded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    labels = ["cat" if k % 2 else "dog" for k in range(12)]
    frame = pd.DataFrame({"u": [k / 7 for k in range(12)], "label": labels})
    ids, source = [f"row:{k}" for k in range(12)], Path("data.csv")
    if kind == "ids":
        ids = [f"p{k}" for k in range(12)]
        frame.insert(0, "id", ids)
    frame.to_csv(source, index=False)
    if kind == "images":
        from data_forms import image_folder

        made = image_folder(tmp_path, labels)
        ids, source, labels = made.ids, made.source, made.labels
    probs = pd.DataFrame({"id": ids, "cat": [0.9 * (label == "cat") + 0.05 for label in labels]})
    probs.assign(dog=1 - probs["cat"]).to_csv("probs.csv", index=False)
    gone = [ids[0], ids[5]]
    more: dict[str, object] = {}
    for round in (0, 1):
        nl.audit_labels(source, probs="probs.csv", out=f"a{round}", **more)
        session = Session(Path(f"a{round}"))
        session.decide("e", session.audit.ids.index(gone[round]), "discard")
        export(session, Path(f"corr{round}.csv"))
        to = Path(f"next{round}.csv" if source.suffix else f"next{round}")
        export(session, to, "input")
        session.store.close()
        more["labels"] = f"corr{round}.csv"
        exported = pd.read_csv(f"corr{round}.csv", keep_default_na=False)
        assert sorted(exported["id"]) == sorted(ids)
        assert set(exported["id"][exported["label"] == ""]) == set(gone[: round + 1])
        left = len(pd.read_csv(to)) if source.suffix else len(list(to.rglob("*.png")))
        assert left == 11 - round


@pytest.mark.parametrize(
    ("ids", "data", "how", "applied"),
    [
        ("row", "/data/t.csv", {}, False),
        ("train", "/data/set", {}, False),
        ("row", None, {}, False),
        ("p", "/data/t.csv", {"id_column": "key"}, True),  # ids that look like rows
        ("train", "digits", {}, True),  # nobody moves its rows
        ("", "/data/t.csv", {}, True),
    ],
)
def test_decisions_copied_to_other_data_follow_ids_but_not_rows(
    ids: str, data: str | None, how: dict[str, Any], applied: bool, audit: Callable[..., Any], tmp_path: Path
) -> None:
    names = [f"{ids}:{k}" if ids else f"n{k}" for k in range(6)]
    first, later = (
        audit(names, [0, 1] * 3, ("ant", "bee"), data, paths=False, digest=digit * 64, **how).save(
            tmp_path / digit
        )
        for digit in "ab"
    )
    session = Session(first, "me")
    session.decide("event-1", 1, "suggested")
    session.store.close()
    shutil.copy(first / "review.sqlite", later)
    session = Session(later, "me")
    assert set(session.decisions()) == ({1} if applied else set())
    how_so = (
        "they apply by example id" if applied else "they are kept but not applied, since its rows have no"
    )
    assert how_so in session.notes()[0]
    session.decide("event-2", 2, "keep")
    assert session.undo("event-3")["undone"] == [2]
    assert session.undo("event-4")["undone"] == ([1] if applied else [])
    session.store.close()
    shutil.copy(later / "review.sqlite", first)
    session = Session(first, "me")
    assert set(session.decisions()) == (set() if applied else {1})  # nothing is lost
    session.store.close()


@pytest.mark.parametrize("reviewed", [True, False])
def test_a_message_that_asks_to_remove_an_audit_names_its_decisions(
    reviewed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"u": [k / 7 for k in range(12)], "label": ["cat", "dog"] * 6})
    frame.to_csv("data.csv", index=False)
    probs = [[0.9, 0.1], [0.2, 0.8]] * 6
    nl.audit_labels("data.csv", probs=probs, out="a")
    if reviewed:
        Session(Path("a")).store.close()
    said = []
    frame.assign(u=frame["u"] + 1).to_csv("data.csv", index=False)
    with pytest.raises(InputError, match="has changed since it was audited into a") as error:
        nl.audit_labels("data.csv", probs=probs, out="a")
    said.append(str(error.value))
    for name in ("seen.parquet", "labels.parquet", "probs.parquet", "settings.json", "audit.json"):
        Path("a", name).write_bytes(b"PAR1")
        with pytest.raises(InputError) as error:
            nl.audit_labels("data.csv", probs=probs, out="a")
        said.append(str(error.value))
    assert all("remove" in line for line in said)
    assert all(("holds the decisions of the review: move it away" in line) == reviewed for line in said)
