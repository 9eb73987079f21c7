"""One store of many processes: distributed training, workers that load data, and an analysis on a cluster."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from distributed import Client, LocalCluster

import astcapture
from astcapture.values import open_store as stores

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]

FILES = {
    "model.py": """
        import torch
        from torch import nn
        from astcapture import capture


        class Attention(nn.Module):
            def __init__(self, dim=16, heads=2):
                super().__init__()
                self.heads = heads
                self.qkv = nn.Linear(dim, 3 * dim)

            @capture("attn")
            def forward(self, x):
                batch, tokens, dim = x.shape
                q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
                attn = (q @ k.mT).softmax(-1)
                return (attn @ v).transpose(1, 2).reshape(batch, tokens, dim)


        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList([Attention(), Attention()])

            def forward(self, x):
                for block in self.blocks:
                    x = block(x)
                return x
    """,
    "train.py": """
        import os

        import torch
        import torch.distributed as dist
        from gloo_at_rest import gloo_at_rest
        from model import Model
        from torch.nn.parallel import DistributedDataParallel

        dist.init_process_group("gloo")
        torch.manual_seed(0)
        model = DistributedDataParallel(Model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        rank = dist.get_rank()
        for step in range(3):
            x = torch.full((1, 9, 16), float(rank + 1))
            model(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        dist.destroy_process_group()
        gloo_at_rest()
    """,
    "workers.py": """
        import sys

        import torch
        from torch.utils.data import DataLoader, Dataset
        from data import Numbers

        if __name__ == "__main__":
            context = sys.argv[1]
            loader = DataLoader(Numbers(), batch_size=2, num_workers=2, multiprocessing_context=context)
            print(sum(int(batch.sum()) for batch in loader))
    """,
    "data.py": """
        import torch
        from torch.utils.data import Dataset
        from astcapture import capture


        class Numbers(Dataset):
            def __len__(self):
                return 10

            @capture("item")
            def __getitem__(self, index):
                item = torch.full((3,), index)
                return item
    """,
    "threads.py": """
        import threading

        import torch
        from model import Model

        replicas = [Model() for _ in range(4)]


        def work(number):
            for step in range(25):
                replicas[number](torch.full((1, 5, 16), float(number)))


        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """,
}


@pytest.fixture
def run(make_package: Callable[..., Path], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    make_package(FILES)

    def command(*arguments: str, targets: str = "model") -> subprocess.CompletedProcess[str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("ASTCAPTURE", "PYTHON"))}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={
                **kept,
                "PYTHONPATH": os.pathsep.join(map(str, (PROJECT, tmp_path, Path(__file__).parent))),
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
                "ASTCAPTURE": targets,
                "ASTCAPTURE_STORE": "run",
            },
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return command


def test_two_ranks_of_a_distributed_training_store_into_one_folder(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    done = run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py")
    assert "12 values of 2 processes stored" in done.stderr
    loaded = astcapture.load(tmp_path / "run")
    records = loaded["Attention.forward"].records
    assert [record.rank for record in records] == [0] * 6 + [1] * 6
    assert [one.about["rank"] for one in loaded.processes] == [0, 1]
    for rank in (0, 1):
        mine = loaded.select(rank=rank)
        assert set(mine.by_layer()) == {"blocks.0", "blocks.1"}  # no "module." of the wrapper
        assert [record.call for record in mine.by_layer()["blocks.0"].records] == [0, 1, 2]
    assert all(value.shape == (1, 2, 9, 9) for value in loaded["Attention.forward"])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_what_workers_capture_that_load_data_is_stored(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, context: str
):
    done = run("workers.py", context, targets="data")
    assert done.stdout == f"{3 * sum(range(10))}\n"
    loaded = astcapture.load(tmp_path / "run")
    assert Counter(int(value[0]) for value in loaded["Numbers.__getitem__"]) == Counter(range(10))
    assert sum(any(len(shard) for shard in one.shards) for one in loaded.processes) == 2
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr


def test_threads_with_a_replica_each_lose_nothing(run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path):
    run("threads.py")
    loaded = astcapture.load(tmp_path / "run")
    assert len(loaded["Attention.forward"]) == 4 * 25 * 2
    assert max(record.call for record in loaded.select().records) >= 24


# An analysis


def mean_distance(maps: Any, centres: Any) -> Any:
    """Mean attention distance of each map: over its queries, the distance to the keys weighed by the attention.

    Args:
        maps: attention, shape (..., queries, keys).
        centres: where the tokens lie, shape (tokens, 2).
    """
    apart = numpy.sqrt(((centres[:, None] - centres[None]) ** 2).sum(-1))
    return (maps * apart).sum(-1).mean(-1)


@pytest.mark.filterwarnings("ignore:Mismatched versions")
def test_the_attention_distance_of_a_stored_run_on_a_cluster_of_two_workers_is_that_in_memory(
    make_package: Callable[..., Path], fresh_imports: object, tmp_path: Path
):
    make_package(FILES)
    with astcapture.install("model", store=tmp_path / "run"):
        network = importlib.import_module("model").Model()
        with torch.no_grad():
            for _ in range(6):
                network(torch.randn(2, 16, 16))
                stores.current().flush()
        in_memory = [value.clone() for value in astcapture.cache["Attention.forward"]]
    places = numpy.stack(numpy.meshgrid(range(4), range(4), indexing="ij"), -1).reshape(16, 2).astype("f8")
    arrays = {}
    for layer, records in astcapture.load(tmp_path / "run")["Attention.forward"].by_layer().items():
        maps = records.to_dask()
        assert maps.shape == (6, 2, 2, 16, 16) and maps.numblocks[0] == 6  # a chunk for each shard
        arrays[layer] = maps.map_blocks(mean_distance, places, dtype="f8", drop_axis=[3, 4]).mean(axis=(0, 1))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        assert len(client.scheduler_info()["workers"]) == 2
        results = client.compute(arrays, sync=True)
    for number, layer in enumerate(("blocks.0", "blocks.1")):
        expected = mean_distance(torch.stack(in_memory[number::2]).double().numpy(), places).mean(axis=(0, 1))
        assert results[layer].shape == (2,)  # a distance for each head
        numpy.testing.assert_allclose(results[layer], expected, rtol=1e-6)
