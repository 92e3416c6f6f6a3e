"""Examples discarded in one round of audit and review stay discarded in the next."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.audit.review.export import export
from noisylabels.audit.review.session import Session


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
