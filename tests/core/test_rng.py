"""Torch's global generator, which the threads of a process share."""

from __future__ import annotations

import threading

import torch

from noisylabels.core.rng import global_state_kept, start_global_stream
from noisylabels.models import build_model


def test_networks_that_threads_build_at_once_are_those_of_their_seeds():
    def built(seed: int) -> torch.Tensor:
        model = build_model("mlp:16", channels=1, image_size=(4, 4), num_classes=3, seed=seed)
        return torch.cat([each.flatten() for each in model.parameters()])

    alone = [built(seed) for seed in range(20)]
    before, found, ended = torch.get_rng_state(), {}, threading.Event()

    def build() -> None:
        found.update({seed: built(seed) for seed in range(20) for _ in range(5)})

    def disturb() -> None:
        while not ended.is_set():
            with global_state_kept([]):
                start_global_stream(1, "model")

    threads = [threading.Thread(target=each) for each in (build, disturb)]
    for thread in threads:
        thread.start()
    threads[0].join()
    ended.set()
    threads[1].join()
    assert all(torch.equal(found[seed], expected) for seed, expected in enumerate(alone))
    assert torch.equal(torch.get_rng_state(), before)
