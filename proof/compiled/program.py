"""Random programs over tensors, as torch's compiler meets them: graph breaks, transforms and locals of every kind."""

from __future__ import annotations

import random

NAMES = ("a", "b", "c", "d")
HEADER = """\
import contextlib
import functools
import itertools
import math
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

Pair = namedtuple("Pair", "first second")


class Suppress:
    def __enter__(self): return 5
    def __exit__(self, kind, *rest): return kind is not None and issubclass(kind, ValueError)


class Steps:
    def __init__(self, steps): self.steps, self.at = steps, 0
    def __call__(self):
        self.at += 1
        return self.steps[self.at % len(self.steps)]


class Forwarding:
    def __init__(self, inner): self.inner = inner
    def __getattr__(self, name): return getattr(self.inner, name)


class Names(dict):
    __getattr__ = dict.__getitem__


@dataclass
class Output:
    first: torch.Tensor
    second: object = None


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        doubled = x * 2
        return doubled
    @staticmethod
    def backward(ctx, g):
        halved = g * 2
        return halved


def of(value, x):
    if isinstance(value, torch.Tensor):
        return value if value.shape == x.shape else x + value.sum()
    if isinstance(value, (int, float)):
        return x + value
    if isinstance(value, (tuple, list)) and len(value):
        return of(value[0], x)
    return x * 0.5


def inner(t):
    local = t * 2
    return local.sin()


def summed(t):
    local = t * t
    return local.sum()


def pieces(t, count):
    for i in range(count):
        piece = t + i
        yield piece


def deep(t, levels):
    here = t + levels
    if levels == 0:
        return here
    return deep(here, levels - 1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.scale = 0.5
    def forward(self, t):
        hidden = self.linear(t)
        out = hidden * self.scale
        return out


torch.manual_seed(0)
"""
METHOD = """\


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.seen = None
"""
FUNCTION = """\


blocks = nn.ModuleList(Block() for _ in range(2))
"""

#: What a local may be bound to, beside tensors. ``{v}`` is one of the program's names, as a tensor.
KINDS = (
    *("3", "0.5", "'mean'", "None", "True", "x.shape", "x.shape[0]", "x.dtype", "range(2)", "x.device"),
    *("({v}, 2)", "[{v}, [{v}]]", "{{'k': {v}}}", "({v}, slice(0, 1))", "[]", "Pair({v}, 2)", "Output({v})"),
    *("OrderedDict(k={v})", "{{1, 2}}", "Names(k={v})", "Forwarding(3)", "Output(x, [{v}])", "((({v},),),)"),
    *("slice(0, 2)", "zip([{v}], [1])", "map(torch.neg, [{v}])", "itertools.count()", "iter([{v}])"),
    *("torch.no_grad()", "contextlib.nullcontext()", "torch.autocast('cpu')", "torch.nn", "nn.Linear"),
    *("functools.partial(torch.add, {v})", "(lambda q: q + {v})", "{v}.sum", "ValueError('kept')", "math.pi"),
    *("(y for y in [{v}, x])", "pieces({v}, 2)", "np.float32(2)", "enumerate([{v}])", "torch.Size([4, 4])"),
)
TENSORS = (
    *("{v} * 2", "torch.relu({v})", "{v} + {w}", "{v} @ {w}", "{v}.softmax(-1)", "{v}.t()", "{v}.detach()"),
    *("F.dropout({v}, 0.0)", "{v}.clone()", "{v}[:, [1, 0, 3, 2]]", "{v}.to(torch.float64).to(x.dtype)"),
    *("inner({v})", "deep({v}, 2)", "BLOCKS[0]({v})", "BLOCKS[1]({v}) + {w}", "torch.where({v} > 0, {v}, {w})"),
    *("sum(pieces({v}, 2))", "torch.stack([{v}, {w}]).sum(0)", "torch.cat([{v}, {w}])[:4]", "{v}.view(-1).view(4, 4)"),
    *("[inner(q) for q in ({v}, {w})][1]", "functools.reduce(torch.add, [{v}, {w}])", "x.new_ones(4, 4)"),
    *("F.scaled_dot_product_attention({v}[None, None], {w}[None, None], x[None, None])[0, 0]",),
    *("torch.func.vmap(inner)({v})", "torch.func.grad(summed)({v})", "Double.apply({v})"),
    *("checkpoint(inner, {v}, use_reentrant=False)", "max([{v}, {w}], key=torch.numel)", "{v}.unbind()[0] + {w}"),
    *("torch.from_numpy({v}.detach().numpy())", "torch.cond(x.shape[0] > 2, inner, inner, ({v},))"),
)
#: Conditions; the last two are not known when the code is traced.
CONDITIONS = ("t()", "t()", "t()", "x.shape[0] > 3", "flag", "not flag", "x.sum() > 0", "x[0, 0].item() > 0")


class TensorProgram:
    """One program: `model` is called with a tensor ``x``, the decisions ``t`` and a ``flag``."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"tensors {seed}")
        self.lines: list[str] = []
        self.budget = self.random.randint(4, 12)
        self.is_method = self.random.random() < 0.5
        self.is_generator = self.random.random() < 0.1
        self.inners = 0
        depth = 1
        if self.is_method:
            self.emit(1, "def forward(self, x, t, flag):")
            depth = 2
        else:
            self.emit(0, "def f(x, t, flag):")
        self.emit(depth, f"a = {self.tensor(('x',))}")
        if self.random.random() < 0.8:
            self.emit(depth, "b, c, d = x + 1, 2, [x]")
        self.block(depth, False, 0)
        if self.random.random() < 0.7:
            self.make_return(depth, False, 0)

    @property
    def source(self) -> str:
        body = "\n".join(self.lines).replace("BLOCKS", "self.blocks" if self.is_method else "blocks")
        end = "model = Model()" if self.is_method else "model = f"
        return f"{HEADER}{METHOD if self.is_method else FUNCTION}\n{body}\n\n\n{end}\n"

    def emit(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def block(self, depth: int, in_loop: bool, nested: int) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.statement(depth, in_loop, nested)

    def name(self) -> str:
        return self.random.choice(NAMES)

    def value(self, names: tuple[str, ...] = (*NAMES, "x")) -> str:
        """A tensor of the shape of ``x``, whatever the name is bound to."""
        name = self.random.choice(names)
        return "x" if name == "x" else f"of({name}, x)"

    def tensor(self, names: tuple[str, ...] = (*NAMES, "x")) -> str:
        return self.random.choice(TENSORS).format(v=self.value(names), w=self.value(names))

    def kind(self) -> str:
        return self.random.choice(KINDS).format(v=self.value())

    def condition(self) -> str:
        return self.random.choice(CONDITIONS)

    def statement(self, depth: int, in_loop: bool, nested: int) -> None:
        self.budget -= 1
        kinds = ["tensor"] * 6 + ["kind"] * 4 + ["augmented", "in_place", "in_place_kept", "unpack", "walrus"]
        kinds += ["return", "delete", "call", "break_graph", "raise", "inner", "comprehension", "annotated", "store"]
        if self.is_generator:
            kinds += ["yield", "yield"]
        if in_loop:
            kinds += ["break", "continue"]
        if nested < 3 and self.budget > 0:
            kinds += ["if", "if", "for", "for", "while", "try", "try_finally", "with", "with", "match"]
        getattr(self, "make_" + self.random.choice(kinds))(depth, in_loop, nested)

    def make_tensor(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = {self.tensor()}")

    def make_kind(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = {self.kind()}")

    def make_augmented(self, depth, in_loop, nested):
        name = self.name()
        self.emit(depth, f"{name} = {self.value()} * 1")
        self.emit(depth, f"{name} {self.random.choice(['+=', '*=', '-='])} {self.value()}")

    def make_in_place(self, depth, in_loop, nested):
        name = self.name()
        self.emit(depth, f"{name} = {self.tensor()}.clone()")
        self.emit(depth, f"{name}.{self.random.choice(['add_(1)', 'mul_(x.detach())', 'zero_()'])}")

    def make_in_place_kept(self, depth, in_loop, nested):
        """A container whose contents change after it has been recorded."""
        self.emit(depth, f"d = [{self.value()} * 1, {self.value()}]")
        self.emit(depth, self.random.choice(["d.append(x)", "d[0].add_(1)", "d[0] = x", "d.pop()"]))

    def make_unpack(self, depth, in_loop, nested):
        form = self.random.choice(["{0}, *{1} = {v}, 2, x", "{0}, ({1}, {2}) = 1, ({v}, x)", "{0} = {1} = {v}"])
        self.emit(depth, form.format(self.name(), self.name(), self.name(), v=self.tensor()))

    def make_walrus(self, depth, in_loop, nested):
        self.emit(depth, f"{self.condition()} and ({self.name()} := {self.kind()})")

    def make_annotated(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()}: torch.Tensor = {self.tensor()}")

    def make_store(self, depth, in_loop, nested):
        self.emit(depth, f"self.seen = {self.tensor()}" if self.is_method else f"t.seen = {self.tensor()}")

    def make_delete(self, depth, in_loop, nested):
        self.emit(depth, f"del {self.name()}")

    def make_call(self, depth, in_loop, nested):
        self.emit(depth, self.tensor())

    def make_break_graph(self, depth, in_loop, nested):
        self.emit(depth, self.random.choice(["torch._dynamo.graph_break()", "print('seen', flag)", "x.sum().item()"]))

    def make_raise(self, depth, in_loop, nested):
        error = self.random.choice(["ValueError('raised')", "TypeError('raised')"])
        self.emit(depth, f"if {self.condition()}: raise {error}")

    def make_return(self, depth, in_loop, nested):
        forms = ["{v}", "({v}, {w})", "[{v}, 3]", "{{'k': {v}}}", "{v}.sum()", "{n}", "({n} := {v})", "Output({v}, 2)"]
        form = self.random.choice(forms)
        self.emit(depth, "return " + form.format(v=self.value(), w=self.tensor(), n=self.name()))

    def make_yield(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = yield {self.value()}")

    def make_inner(self, depth, in_loop, nested):
        self.inners += 1
        name, read = f"g{self.inners}", self.random.choice(NAMES)
        self.emit(depth, f"def {name}(q, scale=2):")
        if self.random.random() < 0.4:
            self.emit(depth + 1, f"nonlocal {read}")
            self.emit(depth + 1, f"{read} = q * scale")
        self.emit(depth + 1, f"kept = q + of({read}, q)")
        self.emit(depth + 1, "return kept * scale")
        self.emit(depth, f"{self.name()} = {name}({self.value()})")

    def make_comprehension(self, depth, in_loop, nested):
        forms = ["[{1} := q + i for i in range(2) for q in ({v},)]", "{{i: {v} + i for i in range(2)}}"]
        forms += ["list({v} * i for i in range(3) if {c})", "sum([{v}[i] for i in range(2)])"]
        form = self.random.choice(forms).format(self.name(), self.name(), v=self.value(), c=self.condition())
        self.emit(depth, f"{self.name()} = {form}")

    def make_break(self, depth, in_loop, nested):
        self.emit(depth, "break")

    def make_continue(self, depth, in_loop, nested):
        self.emit(depth, "continue")

    def make_if(self, depth, in_loop, nested):
        self.emit(depth, f"if {self.condition()}:")
        self.block(depth + 1, in_loop, nested + 1)
        if self.random.random() < 0.5:
            self.emit(depth, "else:")
            self.block(depth + 1, in_loop, nested + 1)

    def make_for(self, depth, in_loop, nested):
        over = self.random.choice(
            ["range(2)", "[x, x + 1]", f"({self.kind()}, 1)", "pieces(x, 2)", "enumerate([x, x])"]
        )
        self.emit(depth, f"for {self.name()} in {over}:")
        self.block(depth + 1, True, nested + 1)

    def make_while(self, depth, in_loop, nested):
        self.emit(depth, f"for _ in range(2):  # at most as often as {self.name()}")
        self.emit(depth + 1, f"if {self.condition()}: break")
        self.block(depth + 1, True, nested + 1)

    def make_try(self, depth, in_loop, nested):
        self.emit(depth, "try:")
        self.block(depth + 1, in_loop, nested + 1)
        self.emit(
            depth, self.random.choice(["except ValueError:", f"except (ValueError, TypeError) as {self.name()}:"])
        )
        self.block(depth + 1, in_loop, nested + 1)

    def make_try_finally(self, depth, in_loop, nested):
        self.emit(depth, "try:")
        self.block(depth + 1, in_loop, nested + 1)
        self.emit(depth, "finally:")
        self.emit(depth + 1, f"{self.name()} = {self.tensor()}")

    def make_with(self, depth, in_loop, nested):
        contexts = ["torch.no_grad()", "torch.enable_grad()", "contextlib.nullcontext()", "Suppress()"]
        contexts += ["torch.autograd.profiler.record_function('named')", "torch.inference_mode()"]
        context = self.random.choice(contexts) + self.random.choice(["", f" as {self.name()}"])
        if self.random.random() < 0.2:
            context = "torch.autocast('cpu')"  # compiled, ``as`` binds None
        self.emit(depth, f"with {context}:")
        self.block(depth + 1, in_loop, nested + 1)

    def make_match(self, depth, in_loop, nested):
        one, two = self.random.sample(NAMES, 2)
        self.emit(depth, f"match ({self.condition()}, {self.value()}):")
        self.emit(depth + 1, f"case (True, {one}):")
        self.block(depth + 2, in_loop, nested + 1)
        self.emit(depth + 1, f"case ({two}, _):")
        self.block(depth + 2, in_loop, nested + 1)
