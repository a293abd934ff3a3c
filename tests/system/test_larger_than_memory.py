"""Photos that do not fit into the memory that a process may take: training reads only what a batch needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.data.store.store import prepared_store
from tests.conftest import ROOT, RunIn

# The file of training photos is made 6 GiB long, which costs no disk: nothing is written into it.
TRAIN = """
import json, re, resource, sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import TrainConfig
from pipeline.data.store import prepared_store
from pipeline.training.phases import phases_of
from pipeline.training.trainer import make_trainer
from pipeline.models.variants import VARIANTS
from tests.small_net import small_variant

MIB = 2**20
VARIANTS["resnet18"] = small_variant()
config = TrainConfig.model_validate_json(sys.argv[1])
store = prepared_store(config, Path(sys.argv[2]))
side, count = config.image_size, 6 * 2**30 // (config.image_size**2 * 3)
with (store.folder / "train.npy").open("wb") as file:
    shape = (count, side, side, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    file.truncate(file.tell() + count * side * side * 3)
others = store.manifest[store.manifest["split"] != "train"]
first = store.rows("train").iloc[:1]
many = first.loc[first.index.repeat(count)].assign(row=np.arange(count), class_index=np.arange(count) % 3)
pd.concat([others, many]).to_parquet(store.folder / "manifest.parquet")

store = replace(store)  # forgets what it has read
assert store.images("train").nbytes > 6 * 2**30 - 2**20
trainer = make_trainer(phases_of(config)[0], store)
trainer.train(1, trainer.steps - 1)
taken = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
limit = taken + 512 * MIB
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.ones(store.images("train").shape, np.uint8)
except MemoryError:
    print("the photos do not fit")
trainer.train(2, trainer.steps - 200)
print(json.dumps(trainer.validate(2, 1.0)[0].val_accuracy))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_photos_larger_than_the_limit_of_memory_are_trained_on(
    photo_folder: Path, tmp_path: Path, run_in: RunIn
) -> None:
    config = TrainConfig(
        weights="none", data=str(photo_folder), image_size=64, val_fraction=0.3, batch_size=16, precision="float32"
    )
    prepared_store(config, tmp_path)
    done = run_in(ROOT, sys.executable, "-c", TRAIN, config.model_dump_json(), tmp_path)
    refused, accuracy = done.stdout.splitlines()[-2:]
    assert refused == "the photos do not fit"
    assert 0 <= float(accuracy) <= 1
