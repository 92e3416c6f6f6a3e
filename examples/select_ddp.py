"""Select the examples of small loss in two or more processes (DDP), on digits with 40 % noisy labels.

torchrun --nproc-per-node 2 examples/select_ddp.py
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import noisylabels as nl

EPOCHS = 40


def gathered(mine: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes; each has as many, because the sampler repeats a few examples."""
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return torch.cat(parts)


def train(selector: nl.Selector | None, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Train a small network; the loop stands for your own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    parallel = DistributedDataParallel(model)
    criterion = nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    data = TensorDataset(torch.arange(len(images)), images, labels)
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(data)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        if selector is not None:
            selector.set_epoch(epoch)
        for positions, batch, target in DataLoader(
            data, batch_size=64 // dist.get_world_size(), sampler=sampler
        ):
            logits = parallel(batch)
            losses = criterion(logits, target)
            weights, count = torch.ones_like(losses), len(losses) * dist.get_world_size()
            if selector is not None:
                # every process selects from the whole batch, and takes the weights of its rows
                selected = selector(gathered(positions), gathered(logits.detach()), gathered(target))
                weights = selected.chunk(dist.get_world_size())[dist.get_rank()]
                count = max(1, int(selected.sum()))
            optimizer.zero_grad()
            # DDP averages the gradients of the processes; this makes it the mean of the selected examples
            ((weights * losses).sum() * dist.get_world_size() / count).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Train with and without selection, and print the accuracy on clean test labels."""
    dist.init_process_group("gloo")
    train_set, test_set = nl.load("digits")
    noisy = nl.corrupt(train_set.labels, "symmetric:0.4", num_classes=10, seed=0)
    images, test_images = train_set.images / 255, test_set.images / 255
    for name in ("ce", "small_loss"):
        selector = None if name == "ce" else nl.Selector(name, num_examples=len(images))
        model = train(selector, images, torch.as_tensor(noisy.given))
        with torch.inference_mode():
            right = model(test_images).argmax(1) == test_set.labels
        if dist.get_rank() == 0:
            print(f"{name}: {right.float().mean():.1%} of the clean test labels")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
