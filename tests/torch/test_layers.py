"""Which layer a value belongs to, and which execution of it: found without being handed the model."""

from __future__ import annotations

import copy
import gc
import importlib
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import astcapture
from astcapture.record.torch import places

SOURCE = """\
import torch
from torch import nn

from astcapture import capture


class Attention(nn.Module):
    @capture("attn", "scale")
    def forward(self, x):
        scale = 2
        attn = x * scale
        return attn


class Rebinding(nn.Module):
    def forward(self, x):
        y = x * 2
        y = y + 1
        return y


class Block(nn.Module):
    def __init__(self, attn=None):
        super().__init__()
        self.attn = attn or Attention()

    def forward(self, x):
        return self.attn(x)


class Model(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(depth)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@capture("weights")
def eager_attention(module, x):
    weights = x + 1
    return weights


class Caller(nn.Module):
    def forward(self, x):
        return eager_attention(self, x)


@capture("shifted")
def window_attention(x):
    shifted = x - 1
    return shifted


class Window(nn.Module):
    def forward(self, x):
        return self.helper(x)

    def helper(self, x):
        return window_attention(x)


class Processor:
    @capture("probs")
    def __call__(self, attn, x):
        probs = x * 3
        return probs


class Processed(nn.Module):
    def __init__(self):
        super().__init__()
        self.processor = Processor()

    def forward(self, x):
        return self.processor(self, x)
"""

X = torch.ones(1, 2)


@pytest.fixture
def layered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "layered.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with astcapture.install(["layered"], strict=True):
        yield importlib.import_module("layered")
    sys.modules.pop("layered")


def layers(run: Any, function: str = "layered:Attention.forward", label: str = "attn") -> list[str | None]:
    with astcapture.recording() as rec:
        run()
    return [record.layer for record in rec[function][label].records]


def test_the_layer_is_the_path_in_the_model_that_runs(layered: Any) -> None:
    model = layered.Model()
    assert layers(lambda: model(X)) == ["blocks.0.attn", "blocks.1.attn"]


def test_values_that_are_no_tensors_have_their_layer_too(layered: Any) -> None:
    model = layered.Model()
    assert layers(lambda: model(X), label="scale") == ["blocks.0.attn", "blocks.1.attn"]


def test_records_are_given_by_layer_and_selected_by_it(layered: Any) -> None:
    model = layered.Model(3)
    with astcapture.recording() as rec:
        model(X)
        model(X)
    attention = rec["layered:Attention.forward"]["attn"]
    assert {layer: len(records) for layer, records in attention.by_layer().items()} == {
        "blocks.0.attn": 2,
        "blocks.1.attn": 2,
        "blocks.2.attn": 2,
    }
    assert len(rec.select(layer="blocks.[0-1].*", label="attn")) == 4
    assert "blocks.2.attn" in rec.summary()


def test_call_counts_the_executions_on_each_layer(layered: Any) -> None:
    model = layered.Model()
    with astcapture.recording() as rec:
        for _ in range(3):
            model(X)
    records = rec["layered:Attention.forward"]["attn"].records
    assert [record.call for record in records] == [0, 0, 1, 1, 2, 2]
    labels = rec["layered:Attention.forward"].records
    assert [(record.label, record.call) for record in labels[:4]] == [("attn", 0), ("scale", 0)] * 2


@pytest.mark.slow
def test_the_bindings_of_one_execution_have_its_number_those_of_its_loops_too(layered: Any) -> None:
    targets = ["layered:Rebinding.forward=y@assign", "layered:Model.forward=x@assign"]
    with astcapture.install(targets), astcapture.recording() as rec:
        rebinding, model = layered.Rebinding(), layered.Model()
        rebinding(X), rebinding(X), model(X), model(X)
    assert [record.call for record in rec["layered:Rebinding.forward"].records] == [0, 0, 1, 1]
    assert [record.call for record in rec["layered:Model.forward"].records] == [0, 0, 1, 1]


def test_a_part_that_is_run_alone_has_the_path_in_its_model(layered: Any) -> None:
    model = layered.Model()
    block = model.blocks[1]
    assert layers(lambda: block(X)) == ["blocks.1.attn"]
    assert layers(lambda: model(X)) == ["blocks.0.attn", "blocks.1.attn"]
    assert layers(lambda: block(X)) == ["blocks.1.attn"]


def test_a_free_function_has_the_layer_of_the_module_that_calls_it(layered: Any) -> None:
    model = nn.Sequential(layered.Caller(), nn.Sequential(layered.Caller()))
    assert layers(lambda: model(X), "layered:eager_attention", "weights") == ["0", "1.0"]


def test_a_function_with_no_module_at_hand_has_the_nearest_that_runs(layered: Any) -> None:
    model = nn.Sequential(layered.Window())
    assert layers(lambda: model(X), "layered:window_attention", "shifted") == ["0"]


def test_a_processor_that_is_no_module_has_the_layer_of_the_module_it_works_for(layered: Any) -> None:
    model = nn.Sequential(nn.Identity(), layered.Processed())
    assert layers(lambda: model(X), "layered:Processor.__call__", "probs") == ["1"]


def test_outside_any_module_there_is_no_layer(layered: Any) -> None:
    assert layers(lambda: layered.window_attention(X), "layered:window_attention", "shifted") == [None]


def test_a_method_that_is_called_by_hand_has_the_place_of_its_module(layered: Any) -> None:
    assert layers(lambda: layered.Attention().forward(X)) == [""]
    model = layered.Model()
    assert layers(lambda: model.blocks[1].attn.forward(X)) == ["blocks.1.attn"]


def test_the_model_itself_has_the_empty_path(layered: Any) -> None:
    model = layered.Attention()
    assert layers(lambda: model(X)) == [""]


def test_two_models_at_once_are_told_apart_by_their_own_paths(layered: Any) -> None:
    one, two = layered.Model(1), nn.Sequential(layered.Model(1))
    assert layers(lambda: (one(X), two(X), one(X))) == ["blocks.0.attn", "0.blocks.0.attn", "blocks.0.attn"]


def test_a_module_that_two_models_share_is_named_by_the_one_that_runs(layered: Any) -> None:
    shared = layered.Attention()
    one, two = nn.Sequential(shared), nn.ModuleDict({"encoder": shared})
    two.forward = lambda x: two["encoder"](x)
    assert layers(lambda: (one(X), two(X), one(X))) == ["0", "encoder", "0"]


def test_a_module_under_two_paths_is_named_by_the_path_that_runs(layered: Any) -> None:
    shared = layered.Attention()
    model = layered.Model(2)
    model.blocks[0].attn = model.blocks[1].attn = shared
    assert layers(lambda: model(X)) == ["blocks.0.attn", "blocks.1.attn"]


def test_a_module_that_is_replaced_has_the_path_of_its_place(layered: Any) -> None:
    model = layered.Model()
    model(X)
    for _ in range(5):  # new modules may be given the addresses of old ones
        model.blocks[0].attn = layered.Attention()
        model.blocks.append(layered.Block())
        count = len(model.blocks)
        assert layers(lambda: model(X)) == [f"blocks.{index}.attn" for index in range(count)]


def test_a_module_that_moves_has_the_path_of_where_it_is_now(layered: Any) -> None:
    model = layered.Model(3)
    model(X)
    del model.blocks[0]
    assert layers(lambda: model(X)) == ["blocks.0.attn", "blocks.1.attn"]
    model.blocks.insert(0, layered.Block())
    assert layers(lambda: model(X)) == ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"]


@pytest.mark.slow
def test_a_module_that_moves_while_the_model_runs_has_the_path_of_where_it_is_then(layered: Any) -> None:
    class Moving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({"first": layered.Attention()})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for name in ("second", "third"):
                (attention,) = self.parts.values()
                attention(attention(x))
                self.parts.clear()
                self.parts[name] = attention
            return x

    assert layers(lambda: Moving()(X)) == ["parts.first"] * 2 + ["parts.second"] * 2


def test_a_model_held_outside_the_registry_has_paths_of_its_own(layered: Any) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [layered.Model()]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.hidden[0](x)

    holder = Holder()
    with astcapture.recording() as rec:
        holder(X)
    records = rec["layered:Attention.forward"]["attn"].records
    assert [(record.layer, record.model) for record in records] == [
        ("blocks.0.attn", "Model"),
        ("blocks.1.attn", "Model"),
    ]


@pytest.mark.slow
def test_wrappers_are_no_part_of_the_path(layered: Any) -> None:
    model = layered.Model()
    assert layers(lambda: nn.DataParallel(model)(X)) == ["blocks.0.attn", "blocks.1.attn"]
    torch._dynamo.reset()
    disabled = torch.compile(model, backend="eager", disable=True)
    assert layers(lambda: disabled(X)) == ["blocks.0.attn", "blocks.1.attn"]


@pytest.mark.slow
def test_distributed_data_parallel_is_no_part_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "layered.py").write_text(SOURCE)
    # A process of its own, left without tearing down: gloo's threads can deadlock with Python's lock there.
    script = """
import os
import torch
import astcapture
astcapture.install(["layered"])
import layered
torch.distributed.init_process_group("gloo", init_method="file://" + os.path.abspath("met"), rank=0, world_size=1)
model = layered.Model()
model.weight = torch.nn.Parameter(torch.ones(1))
wrapped = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
wrapped(torch.ones(1, 2))
print([record.layer for record in astcapture.cache["Attention.forward"]["attn"].records], flush=True)
os._exit(0)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "['blocks.0.attn', 'blocks.1.attn']\n", done.stderr


def test_threads_that_run_copies_each_have_their_own_paths(layered: Any) -> None:
    model = layered.Model()
    replicas = [copy.deepcopy(model) for _ in range(4)]

    def run() -> None:
        threads = [threading.Thread(target=replica, args=(X,)) for replica in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(layers(run)) == ["blocks.0.attn"] * 4 + ["blocks.1.attn"] * 4


@pytest.mark.slow
def test_records_do_not_keep_a_model_alive(layered: Any) -> None:
    model = layered.Model()
    model(X)
    gone = weakref.ref(model), weakref.ref(model.blocks[0].attn)
    del model
    gc.collect()
    assert [one() for one in gone] == [None, None]
    assert astcapture.cache["layered:Attention.forward"].records[0].layer == "blocks.0.attn"
    astcapture.cache.clear()


@pytest.mark.slow
def test_torch_imported_after_install_is_found_for_the_first_value_recorded(tmp_path: Path) -> None:
    (tmp_path / "layered.py").write_text(SOURCE)
    script = (
        "import astcapture, sys\n"
        "astcapture.install({'layered:Attention.forward': ['scale']})\n"
        "import layered\n"
        "layered.Model()(layered.torch.ones(1))\n"
        "print([record.layer for record in astcapture.cache['Attention.forward'].records])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "['blocks.0.attn', 'blocks.1.attn']\n"


FIRST_MODULE = """
import pickle, sys
import torch
from torch.nn.modules import module as home
import astcapture

astcapture.install(["layered"])
import layered

def hooks():
    return sum(len(getattr(home, f"_global_{kind}_registration_hooks")) for kind in ("module", "parameter", "buffer"))

def recorded(run):
    with astcapture.recording() as rec:
        run()
    return [record.layer for records in rec.values() for record in records.records if record.label != "scale"]

X = torch.ones(1, 2)
if sys.argv[1] == "dump":
    with open("model.pickle", "wb") as file:
        pickle.dump(layered.Model(), file)
    sys.exit()
print(recorded(lambda: layered.window_attention(X)), hooks())
model = layered.Model() if sys.argv[1] == "built" else pickle.load(open("model.pickle", "rb"))
print(recorded(lambda: model(X)), hooks())
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["built", "unpickled"])
def test_the_first_module_has_its_place_whether_it_is_built_or_unpickled_and_one_hook_of_torchs_sees_the_others(
    tmp_path: Path, first: str
) -> None:
    (tmp_path / "layered.py").write_text(SOURCE)
    (tmp_path / "first.py").write_text(FIRST_MODULE)

    def run(how: str) -> str:
        command = [sys.executable, "first.py", how]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    run("dump")
    assert run(first) == "[None] 3\n['blocks.0.attn', 'blocks.1.attn'] 1\n"


@pytest.mark.slow
def test_uninstalling_leaves_no_hook_of_torchs(tmp_path: Path) -> None:
    (tmp_path / "layered.py").write_text(SOURCE)
    script = (
        "import torch, astcapture\n"
        "from torch.nn.modules import module as home\n"
        "for _ in range(2):\n"
        "    hook = astcapture.install(['layered'])\n"
        "    import layered\n"
        "    layered.Model()(torch.ones(1))\n"
        "    print(len(home._global_module_registration_hooks))\n"
        "    hook.uninstall()\n"
        "    print(len(home._global_module_registration_hooks))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n0\n1\n0\n"


def test_a_failed_run_whose_traceback_is_kept_does_not_name_the_next(layered: Any) -> None:
    model = layered.Model()
    model.blocks.append(nn.Linear(99, 99))  # the input does not fit it
    kept = []
    for _ in range(2):
        try:
            model(X)
        except RuntimeError as error:
            kept.append(error)
    assert layers(lambda: model.blocks[1](X)) == ["blocks.1.attn"]
    beside = nn.Sequential(model.blocks[0])
    assert layers(lambda: beside(X)) == ["0.attn"]
    assert len(kept) == 2


@pytest.mark.slow
def test_a_forward_that_was_put_on_the_instance_is_named_as_any_other(layered: Any) -> None:
    model = layered.Model()
    model.forward = types.MethodType(type(model).forward, model)
    for _ in range(2):
        assert layers(lambda: model(X)) == ["blocks.0.attn", "blocks.1.attn"]
        assert layers(lambda: model.blocks[1](X)) == ["blocks.1.attn"]
        outer = nn.Sequential(nn.Identity(), model)
        assert layers(partial(outer, X)) == ["1.blocks.0.attn", "1.blocks.1.attn"]
        del outer


def test_the_place_of_each_module_is_looked_for_once(layered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []
    place = places._place
    monkeypatch.setattr(places, "_place", lambda *given: looked_up.append(given[0]) or place(*given))
    model = layered.Model(3)
    for _ in range(3):
        assert layers(lambda: [model(X) for _ in range(5)]) == [f"blocks.{index}.attn" for index in range(3)] * 5
    assert looked_up == [block.attn for block in model.blocks]


@pytest.mark.slow
def test_threads_that_run_a_model_first_all_have_their_layers(run_python, tmp_path: Path) -> None:
    (tmp_path / "layered.py").write_text(SOURCE)
    script = """
        import collections, threading
        import torch
        import astcapture
        astcapture.install("layered")
        import layered
        model = layered.Model()
        start = threading.Barrier(4)

        def run():
            start.wait()
            for _ in range(25):
                model(torch.ones(2, 3))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        layers = [record.layer for record in astcapture.cache.select(label="attn").records]
        print(sorted(collections.Counter(layers).items()))
    """
    assert run_python(script).stdout == "[('blocks.0.attn', 100), ('blocks.1.attn', 100)]\n"
