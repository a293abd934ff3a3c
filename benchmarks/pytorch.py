"""The PyTorch contender of `train_step`: torchvision's network in an ordinary, well-tuned training loop.

It runs in a process of its own, ``python -m benchmarks.pytorch CONFIG PRECISION STEPS``, because TensorFlow and PyTorch
bring two copies of LLVM that do not bear each other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torchvision

from pipeline.config import TrainConfig
from pipeline.data.store import Store, prepared_store
from pipeline.training.augmentation import augment

LOADER_WORKERS = 2


class _Photos(torch.utils.data.Dataset):
    def __init__(self, store: Store, config: TrainConfig) -> None:
        self._images, self._labels = store.images("train"), store.labels("train")
        self._config = config

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return augment(self._images[row], self._config, (row,)), int(self._labels[row])


def main() -> None:
    """Train so many steps for every line that comes in, and answer with images per second."""
    config, precision, steps = TrainConfig.model_validate_json(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    train = _trainer(config, prepared_store(config), precision, steps)
    for _ in sys.stdin:
        print(train(), flush=True)


def _trainer(config: TrainConfig, store: Store, precision: str, steps: int) -> Callable[[], float]:
    model = torchvision.models.get_model(config.variant, num_classes=len(store.class_names))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=config.weight_decay, fused=True)
    loss_of = torch.nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(
        _Photos(store, config), config.batch_size, shuffle=True, drop_last=True, num_workers=LOADER_WORKERS,
        persistent_workers=True,
    )  # fmt: skip

    def train() -> float:
        batches = iter(loader)
        images, labels = next(batches)  # the loader's start does not count
        start, done = time.perf_counter(), 0
        while done < steps:
            pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = loss_of(model(pixels.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            try:
                images, labels = next(batches)
            except StopIteration:
                break
        return done * config.batch_size / (time.perf_counter() - start)

    return train


if __name__ == "__main__":
    main()
