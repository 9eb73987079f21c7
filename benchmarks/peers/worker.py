"""A process of its own for each variant: some of them change torch for everybody in theirs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from peers.variants import Variant, edited

LAYERS, HEADS, TOKENS = 12, 3, 17
MEMORY_BATCH, MEMORY_FORWARDS = 16, 4

_MODULE = "transformers.models.vit.modeling_vit"


def ask(process: Callable[..., None], *arguments: Any) -> Any:
    """What `process(connection, ...)` sends from a forked process of its own that ends with it."""
    pid, connection = _forked(process, *arguments)
    try:
        return connection.recv()
    except EOFError:
        return "the process ended without an answer"
    finally:
        connection.close()
        os.waitpid(pid, 0)


def _forked(process: Callable[..., None], *arguments: Any) -> tuple[int, Connection]:
    """Not by multiprocessing, whose children torchlens refuses to trace in."""
    ours, theirs = multiprocessing.Pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        ours.close()
        gc.collect()  # copies the pages that are shared with the parent, so that nothing timed does
        process(theirs, *arguments)
    except BaseException as error:
        traceback.print_exc()
        theirs.send(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:100]}")
    finally:
        theirs.close()
        os._exit(0)


class Worker:
    """Answers to `timing`, `memory` and `check`, from a forked process that lives until `close`."""

    def __init__(self, variant: Variant, folder: str, paths: list[str]) -> None:
        self._pid, self._connection = _forked(_serve, variant, folder, paths)

    def __call__(self, command: str, *arguments: Any) -> Any:
        """The answer; a string is an error, in words."""
        try:
            self._connection.send((command, arguments))
            return self._connection.recv()
        except (EOFError, OSError) as error:
            return f"the process ended: {error!r}"

    def close(self) -> None:
        # Said outright: the processes forked later hold this one's pipe open too.
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._connection.close()
        os.waitpid(self._pid, 0)


def first_maps(connection: Connection, variant: Variant, folder: str, paths: list[str]) -> None:
    """Send the seconds of the variant's import alone, and those from nothing done to the first maps."""
    sys.path[:0] = paths
    start = time.perf_counter()
    if variant.module:
        importlib.import_module(variant.module)
    imported = time.perf_counter()
    forward, _, _ = _prepared(variant, folder)
    forward(_pixels(1))
    connection.send((imported - start, time.perf_counter() - start))


def _serve(connection: Connection, variant: Variant, folder: str, paths: list[str]) -> None:
    sys.path[:0] = paths
    seen: list[Any] = []
    forward, drop, model = _prepared(variant, folder, watch=seen)
    commands: dict[str, Callable[..., Any]] = {
        "check": lambda: _check(forward, drop, model, seen),
        "timing": lambda forwards: _timing(forward, drop, forwards),
        "memory": lambda: _memory(forward, drop),
    }
    while (asked := connection.recv()) is not None:
        command, arguments = asked
        connection.send(commands[command](*arguments))


def _prepared(
    variant: Variant, folder: str, watch: list[Any] | None = None
) -> tuple[Callable[[Any], Any], Callable[[], None], Any]:
    """The variant's forward and drop, and the model. The texts lie in files: nnsight reads the lines around it."""
    import torch

    if variant.edits:
        _import_edited(variant, folder)
    scope: dict[str, Any] = {"__name__": "__main__"}
    indented = {
        part: "".join(f"    {line}\n" for line in text.splitlines())
        for part, text in (("each", variant.each), ("drop", variant.drop))
    }
    body = (
        f"def forward(pixels, maps=()):\n{indented['each']}    return maps\n\ndef drop():\n{indented['drop']}    pass\n"
    )

    def run(part: str, text: str) -> None:
        path = Path(folder, f"{variant.name.replace(' ', '_').replace('.', '')}_{part}.py")
        if not path.exists():
            path.write_text(text)
        exec(compile(text, str(path), "exec"), scope)

    run("before", variant.before)
    from transformers import ViTConfig
    from transformers.models.vit.modeling_vit import ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=192,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=768,
        image_size=32,
        patch_size=8,
        attn_implementation="eager",
    )
    model = scope["model"] = ViTModel(config).eval()
    torch.set_grad_enabled(False)
    handles = []
    if watch is not None:  # first of all hooks, so that it sees what the model made
        for layer in model.layers:
            handles.append(layer.attention.register_forward_hook(lambda *call: watch.append(call[2][1])))
        handles.append(model.layernorm.register_forward_hook(lambda *call: watch.append(call[2])))
        model.watching = handles
    run("after", variant.after)
    run("each", body)
    return scope["forward"], scope["drop"], model


def _import_edited(variant: Variant, folder: str) -> None:
    """Import the model's module from an edited copy, under its own name."""
    package = importlib.util.find_spec(_MODULE.rpartition(".")[0])
    assert package is not None and package.submodule_search_locations is not None
    source = Path(next(iter(package.submodule_search_locations)), "modeling_vit.py").read_text()
    # transformers reads the model's name from the path.
    path = Path(folder, "models", "vit", "modeling_vit.py")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(edited(source, variant.edits))
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[_MODULE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _pixels(images: int) -> Any:
    import torch

    return torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def _check(forward: Callable[[Any], Any], drop: Callable[[], None], model: Any, seen: list[Any]) -> Any:
    """The maps, the model's output, and whether the maps outlive a change in place of what the model made.

    Ends the watching: what is timed later is the variant's work alone.
    """
    seen.clear()
    maps = list(forward(_pixels(1)))
    before = [np.array(one) for one in maps]
    output = np.array(seen.pop())
    for made in seen:
        made.zero_()
    own = all(np.array_equal(one, kept) for one, kept in zip(maps, before, strict=True))
    for handle in model.watching:
        handle.remove()
    seen.clear()
    drop()
    return before, output, own


def _timing(forward: Callable[[Any], Any], drop: Callable[[], None], forwards: int) -> float:
    pixels = _pixels(1)
    forward(pixels)  # the others have had the caches of the processor since
    drop()
    start = time.perf_counter()
    for _ in range(forwards):
        forward(pixels)
        drop()
    return (time.perf_counter() - start) / forwards


def _memory(forward: Callable[[Any], Any], drop: Callable[[], None]) -> tuple[float, float]:
    """Bytes by which the process grew over forwards whose maps are all kept: at their end, and at the most."""
    pixels = _pixels(MEMORY_BATCH)
    _settle()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start = _kilobytes("smaps_rollup", "Rss:")
    held = [forward(pixels) for _ in range(MEMORY_FORWARDS)]
    most = _kilobytes("status", "VmHWM:")
    _settle()
    end = _kilobytes("smaps_rollup", "Rss:")
    held.clear()
    drop()
    return 1024 * (end - start), 1024 * (most - start)


def _settle() -> None:
    """Give back what is free, so that it does not pass for held, nor hide what is taken next."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _kilobytes(file: str, name: str) -> int:
    line = next(line for line in Path("/proc/self", file).read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])
