"""Near-duplicates, compared with a search through all pairs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import noisylabels as nl
from noisylabels.audit import duplicates
from noisylabels.audit.duplicates import Group, find_duplicates
from noisylabels.audit.page import page


def pictures(n: int, side: int = 32, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Return smooth random images, uint8 (N, C, side, side), with the contrast of photographs."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(20, 235, (n, 1, 6, 6)) + rng.uniform(-20, 20, (n, channels, 6, 6))
    coarse = torch.from_numpy(light.astype(np.float32))
    large = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True)
    return large.round().to(torch.uint8)


def saved_again(image: torch.Tensor, quality: int = 60, side: int | None = None) -> torch.Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    if side is not None:
        picture = picture.resize((side, side)).resize(picture.size)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)


def test_recompressed_images_are_found_and_nothing_else() -> None:
    images = pictures(500)
    images[100] = images[3]
    images[200] = images[3]
    images[101] = saved_again(images[4])
    images[102] = saved_again(images[5], 80, side=20)
    images[103] = (images[6].float() * 0.95).round().to(torch.uint8)
    assert find_duplicates(images) == [
        Group((3, 100, 200), True),
        Group((4, 101), False),
        Group((5, 102), False),
        Group((6, 103), False),
    ]


def test_a_copy_of_a_copy_joins_the_group() -> None:
    images = pictures(60)
    images[10] = images[2]
    images[11] = saved_again(images[2])
    (group,) = find_duplicates(images)
    assert group == Group((2, 10, 11), False)


def test_it_finds_what_a_search_through_all_pairs_finds() -> None:
    """Images that blend into each other, so that many pairs lie on both sides of the threshold."""
    ends = pictures(40, side=16, channels=1).float()
    shades = torch.linspace(0, 1, 25)[:, None, None, None]
    images = torch.cat([a + shades * (b - a) for a, b in zip(ends[::2], ends[1::2], strict=True)])
    images = images.round().to(torch.uint8)
    gray = images.double().mean(1).flatten(1)
    centered = gray - gray.mean(1, keepdim=True)
    unit = centered / centered.norm(dim=1, keepdim=True)
    alike = unit @ unit.T >= 0.99
    apart = torch.cdist(gray, gray) / 16
    close = (alike & (apart <= 20)).numpy()
    # the search inspects only the nearest few of each; the connected groups are the same
    reach = close
    for _ in range(6):
        reach = reach.astype(int) @ reach.astype(int) > 0
    naive = {tuple(np.flatnonzero(row).tolist()) for row in reach if row.sum() > 1}
    got = {group.members for group in find_duplicates(images)}
    assert len(naive) >= 10
    assert len(got & naive) >= 0.9 * len(naive)  # thumbnails of 8x8 come first, and differ a little


def test_uniform_images_match_only_if_they_are_equal() -> None:
    images = torch.zeros(6, 3, 20, 20, dtype=torch.uint8)
    for i, shade in enumerate([10, 10, 11, 200, 30, 90]):
        images[i] = shade
    assert find_duplicates(images) == [Group((0, 1), True)]


def test_one_image_has_no_duplicate() -> None:
    assert find_duplicates(pictures(1)) == []


def test_rows_of_features() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32))
    rows[50] = rows[7]
    rows[60] = rows[8] + 1e-5
    rows[70] = rows[9] + 0.1
    assert find_duplicates(rows) == [Group((7, 50), True), Group((8, 60), False)]
    wide = torch.cat([rows] * 40, dim=1)  # beyond the width at which main directions are looked for
    assert find_duplicates(wide) == [Group((7, 50), True), Group((8, 60), False)]


def test_a_table_with_many_equal_rows_has_no_groups() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (300, 3)).astype(np.float32))
    assert find_duplicates(rows) == []


def test_a_conflict_is_a_group_with_different_labels() -> None:
    labels = np.array([0, 1, 1, 1])
    assert Group((0, 1), True).conflicting(labels)
    assert not Group((1, 2, 3), True).conflicting(labels)


def test_large_images_are_converted_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    whole = duplicates._thumbnails

    def counted(images: torch.Tensor, side: int) -> torch.Tensor:
        held.append(images.numel())
        return whole(images, side)

    monkeypatch.setattr(duplicates, "_thumbnails", counted)
    images = pictures(130, side=224)
    images[100] = images[7]
    images[101, 0, 0, 0] = images[7, 0, 0, 0] // 2
    assert find_duplicates(images) == [Group((7, 100), exact=True)]
    assert max(held) <= 1 << 23  # 34 MB
    assert sum(held) >= 129 * images[0].numel()


def table(rows: int, columns: int, decimals: int | None = None) -> torch.Tensor:
    drawn = np.random.default_rng(0).normal(size=(rows, columns))
    return torch.from_numpy((drawn if decimals is None else drawn.round(decimals)).astype(np.float32))


@pytest.mark.parametrize(
    ("rows", "columns", "decimals"),
    [(200, 1, None), (200, 1, 3), (5000, 2, None), (200, 2, 1), (2000, 3, 1), (500, 3, 1)],
)
def test_rows_of_few_columns_that_are_alike_by_chance_are_no_copies(
    rows: int, columns: int, decimals: int | None
) -> None:
    points = table(rows, columns, decimals)
    apart = torch.cdist(points.double(), points.double()) / points.std() + 9 * torch.eye(rows)
    assert (apart < 1e-3).any()  # of independent draws, each of which is another example
    assert find_duplicates(points) == []


@pytest.mark.parametrize(("rows", "columns", "decimals"), [(5000, 2, None), (300, 4, 1), (5000, 6, 1)])
def test_rows_that_chance_does_not_make_alike_are_copies(
    rows: int, columns: int, decimals: int | None
) -> None:
    points = table(rows, columns, decimals)
    points[-3:] = points[:3]
    assert find_duplicates(points) == [Group((k, rows - 3 + k), True) for k in range(3)]


def test_nearly_equal_rows_among_many_that_blend_into_each_other_are_no_copies() -> None:
    points = table(300, 20)
    points[50:70] = points[7] + 3e-3 * torch.from_numpy(
        np.random.default_rng(1).normal(size=(20, 20)).astype(np.float32)
    )
    points[60] = points[8] + 1e-5
    assert find_duplicates(points) == []
    points[50:60] = table(400, 20)[300:310]
    points[61:70] = table(400, 20)[310:319]
    assert find_duplicates(points) == [Group((8, 60), False)]


@pytest.mark.parametrize("first", ["issue#100", "issue"])
def test_ids_that_end_in_a_number_are_one_only_if_a_row_has_the_id_without_it(first: str) -> None:
    draw = np.random.default_rng(0)
    labels = np.array(["bug", "wish"] * 30)
    frame = pd.DataFrame(draw.normal(size=(60, 3)), columns=list("abc"))
    frame.insert(0, "id", [first, *(f"issue#{100 + i}" for i in range(1, 60))])
    frame.loc[1, list("abc")] = frame.loc[0, list("abc")]
    probs = np.where(labels[:, None] == ["bug", "wish"], 0.9, 0.1)
    probs[1] = [0.9, 0.1]
    if first == "issue":  # then issue#101 would be the second row of that id
        frame.loc[2:, "id"] = [f"other {i}" for i in range(58)]
    found = nl.audit_labels(frame.assign(label=labels), probs=probs)
    same = "row" if first == "issue#100" else "id"
    assert found.why[1] == f"same {same} as {first}, labeled bug"
    assert found.summary["duplicates"]["groups"] == 1
    (group,) = page_groups(found)
    assert group["id"] == (same == "id")


def page_groups(audit: nl.Audit) -> list[dict[str, Any]]:
    """Return the groups of near-duplicates on the page of an audit."""
    text = page(audit, None, Path())
    start = text.index('{"classes":')
    content, _ = json.JSONDecoder().raw_decode(text[start:])
    groups: list[dict[str, Any]] = content["groups"]
    return groups
