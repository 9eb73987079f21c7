"""Random programs of every kind of function and statement, to be run in two ways and compared."""

from __future__ import annotations

import random
import sys

from random_programs import HEADER, NAMES, Program

KINDS = ("function", "generator", "coroutine", "async generator")
WIDER_HEADER = (
    "import warnings\nfrom types import SimpleNamespace\nshared = 0\n"
    + HEADER
    + """
class Both(Suppress):
    def __init__(self, t): self.t = t
    def __enter__(self): return self.t()
    async def __aenter__(self): await Later(1); return self.t()
    async def __aexit__(self, *rest): await Later(2); return self.__exit__(*rest)
class Later:
    def __init__(self, value): self.value = value
    def __await__(self):
        yield self.value
        return self.value
class Box:
    __match_args__ = ("one", "two")
    def __init__(self, t): self.one, self.two, self.items, self.t = t(), 2, {}, t
    def __setitem__(self, key, value): self.items[key] = self.t()
    def __getitem__(self, key): return self.items.get(key, 4)
def through(t, count):
    for i in range(count): yield t()
    return t()
async def slowly(t, count):
    for i in range(count):
        await Later(i)
        yield t()
def deco(function):
    return function
"""
)


class WiderProgram(Program):
    """``f(t, a)`` as a function, a generator, a coroutine or an async generator.

    With `leaves_at_once` nothing of it runs after a ``return`` has been evaluated: the locals that a trace
    function sees at the return event are then those that a capture is to record.
    """

    def __init__(self, seed: int | random.Random, leaves_at_once: bool | None = None, *, newest: bool = False) -> None:
        chance = seed if isinstance(seed, random.Random) else random.Random(f"wider {seed}")
        self.kind = chance.choices(KINDS, [5, 2, 2, 1])[0]
        self.leaves_at_once = chance.random() < 0.5 if leaves_at_once is None else leaves_at_once
        self.declares = chance.random() < 0.15
        #: Whether it may hold what only some Pythons have; without, a seed means the same program on all from 3.11 on.
        self.newest = newest
        super().__init__(seed)
        if self.kind in ("coroutine", "async generator"):
            self.lines = ["async " + one if one.startswith("def f(") else one for one in self.lines]
        at = next(index for index, one in enumerate(self.lines) if "def f(" in one) + 1
        if chance.random() < 0.7:
            self.lines.insert(at, "    b, c, d = 'b', 3, [4]")
        if self.declares:
            self.lines.insert(at, "    global shared")
        if self.kind in ("generator", "async generator"):
            # A yield that is never reached makes it one all the same.
            self.lines.insert(at, "    if not t: yield")
        if self.kind == "async generator":
            # No values are returned from one.
            self.lines = [self.without_value(one) for one in self.lines]

    def without_value(self, line: str) -> str:
        code = line.lstrip()
        return line[: len(line) - len(code)] + "return" if code.startswith("return ") else line

    @property
    def generator(self) -> bool:
        return self.kind in ("generator", "async generator")

    @generator.setter
    def generator(self, value: bool) -> None:
        pass

    @property
    def source(self) -> str:
        return WIDER_HEADER + "\n".join(self.lines) + "\n"

    def statement(self, depth: int, in_loop: bool, nested: int, in_finally: bool) -> None:
        wide = ["print", "warn", "targets", "several", "chain", "expression", "comprehension", "inner", "attribute"]
        wide += ["annotated", "assert", "raise_from", "many_lines", "delete_attribute", "class", "return_lines"]
        if self.declares:
            wide.append("shared")
        if self.newest and sys.version_info >= (3, 12):
            wide += ["type_alias", "generic"]
        if self.newest and sys.version_info >= (3, 14):
            wide += ["template", "deferred"]
        if self.newest and sys.version_info >= (3, 15):
            wide.append("unpacking_comprehension")
        if self.kind in ("coroutine", "async generator"):
            wide += ["await", "await"]
        if self.kind == "generator":
            wide += ["yield_from", "yield_expression"]
        if nested < 4 and self.budget > 0:
            wide += ["pattern", "withs", "deep_try"]
            if self.kind in ("coroutine", "async generator"):
                wide += ["async_for", "async_with", "async_for"]
            if sys.version_info >= (3, 11):
                wide.append("group")
        if self.random.random() < 0.5:
            super().statement(depth, in_loop, nested, in_finally)
        else:
            self.budget -= 1
            getattr(self, "make_" + self.random.choice(wide))(depth, in_loop, nested)

    def make_print(self, depth, in_loop, nested):
        self.emit(depth, f"print('at', t(), {self.random.randint(0, 9)})")

    def make_warn(self, depth, in_loop, nested):
        self.emit(depth, f"warnings.warn('warned {self.random.randint(0, 2)}', UserWarning)")

    def make_targets(self, depth, in_loop, nested):
        target = self.random.choice(
            ["{0}, ({1}, *{2})", "[{0}, ({1}, {2})]", "*{0}, {1}", "({0}, {1}), t.x", "{0}, t.steps[:0]"]
        )
        value = {
            "{0}, ({1}, *{2})": "t(), (1, 2, 3)",
            "[{0}, ({1}, {2})]": "[t(), 'xy']",
            "*{0}, {1}": "1, t()",
            "({0}, {1}), t.x": "'ab', t()",
            "{0}, t.steps[:0]": "t(), []",
        }[target]
        self.emit(depth, f"{target.format(self.name(), self.name(), self.name())} = {value}")

    def make_several(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = {self.name()} = t()")

    def make_chain(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = 0 < t() < 2 or t() and not {self.name()}")

    def make_expression(self, depth, in_loop, nested):
        name = self.name()
        form = self.random.choice(
            [
                "{0} = ({1} := t()) if t() else ({1} := 3)",
                "{0} = f'{{t()}} {{t()!r:>5}}'",
                "{0} = [*(t(), 1), *[2]]",
                "{0} = dict(x=t(), **{{'y': 1}})",
                "{0} = (lambda q=t(): (q, {1}))",
                "{0} = 'a %s and %r' % (t(), {1})",
                "{0} = {{1: t(), 2: [{1}]}}",
                "{0} = t() if t() else {1}",
            ]
        )
        self.emit(depth, form.format(name, self.name()))

    def make_comprehension(self, depth, in_loop, nested):
        form = self.random.choice(
            [
                "{0} = [({1} := i) for i in range(3) if t()]",
                "{0} = {{i: t() for i in range(2)}}",
                "{0} = {{({1}, i) for i in range(2)}}",
                "{0} = list({1} for i in range(2) if t())",
                "{0} = [[i, j] for i in range(2) for j in (i, t())]",
            ]
        )
        self.emit(depth, form.format(self.name(), self.name()))

    def make_type_alias(self, depth, in_loop, nested):
        name = self.name()
        self.emit(depth, f"type {name} = [{self.name()}, t()]")
        self.emit(depth, f"print({name}.__name__)")
        if self.random.random() < 0.5:
            self.emit(depth, f"t() and {name}.__value__")

    def make_generic(self, depth, in_loop, nested):
        name = self.name()
        self.emit(depth, f"def {name}[T: ({self.name()}, int), *R](p: T = t()) -> T:")
        self.emit(depth + 1, "return p")
        self.emit(depth, f"t() and {name}()")

    def make_template(self, depth, in_loop, nested):
        form = self.random.choice(
            [
                "{0} = t'{{t()}} {{{1}!r:>{{t()}}}}'",
                "{0} = t'{{({1} := t())}}' t'x'.values",
                "{0} = [t'{{({1} := i)}}' for i in range(2)]",
                "{0} = (t'{{t()}}'\n t'{{{1}}}').interpolations",
            ]
        )
        for line in form.format(self.name(), self.name()).split("\n"):
            self.emit(depth, line)

    def make_deferred(self, depth, in_loop, nested):
        name, read = self.name(), self.name()
        self.emit(depth, f"def {name}(p: undefined = t(), *q: {read}) -> [{read}, t()]: return p")
        self.emit(depth, f"t() and {name}.__annotations__")
        self.emit(depth, f"{self.name()}: undefined[{read}] = {name}")

    def make_unpacking_comprehension(self, depth, in_loop, nested):
        form = self.random.choice(
            [
                "{0} = [*({1} := i) for i in ('ab', [t()])]",
                "{0} = {{**i for i in ({{1: t()}}, {{2: {1}}})}}",
                "{0} = list(*i for i in ([{1}], 'x') if t())",
                "{0} = {{*i for i in ([t()], 'x')}}",
            ]
        )
        self.emit(depth, form.format(self.name(), self.name()))

    def make_inner(self, depth, in_loop, nested):
        name, read = self.name(), self.name()
        self.emit(depth, "@deco")
        self.emit(depth, f"def {name}(p=t(), *, q: int = 2):")
        if read != name and self.random.random() < 0.5:
            self.emit(depth + 1, f"return p, q, {read}")
        else:
            self.emit(depth + 1, "q = p")
            self.emit(depth + 1, "return q")

    def make_class(self, depth, in_loop, nested):
        self.emit(depth, f"class {self.name()}:")
        self.emit(depth + 1, "inside = t()")

    def make_attribute(self, depth, in_loop, nested):
        box = self.name()
        self.emit(depth, f"{box} = Box(t)")
        self.emit(depth, self.random.choice([f"{box}.one += t()", f"{box}[t()] = {box}.one", f"{box}[0] += 1"]))

    def make_delete_attribute(self, depth, in_loop, nested):
        self.emit(depth, "t.x = 1")
        self.emit(depth, f"del t.x, {self.name()}")

    def make_annotated(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()}: int = t()")

    def make_assert(self, depth, in_loop, nested):
        self.emit(depth, f"assert t() or {self.name()}, 'asserted'")

    def make_raise_from(self, depth, in_loop, nested):
        self.emit(depth, "if t(): raise ValueError('outer') from TypeError('inner')")

    def make_many_lines(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = [")
        self.emit(depth + 1, "t(),")
        self.emit(depth + 1, f"(t(), {self.name()}),")
        self.emit(depth, "]")

    def make_return_lines(self, depth, in_loop, nested):
        if self.kind == "async generator":
            self.emit(depth, "if t(): return")
            return
        self.emit(depth, "if t():")
        self.emit(depth + 1, "return (")
        self.emit(depth + 2, f"{self.name()},")
        self.emit(depth + 2, self.random.choice(["t(),", "[t() for i in 'xy'],", "f'{t()}',", "3,"]))
        self.emit(depth + 1, ")")

    def make_shared(self, depth, in_loop, nested):
        self.emit(depth, self.random.choice(["shared = t()", "shared += 1", "print(shared)"]))

    def make_await(self, depth, in_loop, nested):
        self.emit(depth, self.random.choice([f"{self.name()} = await Later(t())", f"{self.name()} += await Later(1)"]))

    def make_yield_from(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = yield from through(t, {self.random.randint(0, 2)})")

    def make_yield_expression(self, depth, in_loop, nested):
        self.emit(depth, f"t() and ({self.name()} := (yield {self.name()}))")

    def make_async_for(self, depth, in_loop, nested):
        self.emit(depth, f"async for {self.name()} in slowly(t, {self.random.randint(0, 2)}):")
        self.block(depth + 1, True, nested + 1)
        self.otherwise(depth, in_loop, nested)

    def make_async_with(self, depth, in_loop, nested):
        if self.leaves_at_once:
            self.make_await(depth, in_loop, nested)
            return
        self.emit(depth, f"async with Both(t) as {self.name()}:")
        self.block(depth + 1, in_loop, nested + 1)

    def make_with(self, depth, in_loop, nested):
        if self.leaves_at_once:
            self.make_if(depth, in_loop, nested)
            return
        super().make_with(depth, in_loop, nested)

    def make_withs(self, depth, in_loop, nested):
        if self.leaves_at_once:
            self.make_if(depth, in_loop, nested)
            return
        second = self.random.choice(["Suppress()", f"Both(t) as {self.name()}"])
        self.emit(depth, f"with Both(t) as {self.name()}, {second}:")
        self.block(depth + 1, in_loop, nested + 1)

    def make_try(self, depth, in_loop, nested):
        if not self.leaves_at_once:
            super().make_try(depth, in_loop, nested)
            return
        self.emit(depth, "try:")
        self.block(depth + 1, in_loop, nested + 1)
        for kind in self.random.sample(["ValueError", "TypeError", "(ValueError, UnboundLocalError)"], 2):
            self.emit(depth, f"except {kind}:")
            self.block(depth + 1, in_loop, nested + 1)

    def make_deep_try(self, depth, in_loop, nested):
        if self.leaves_at_once:
            self.make_try(depth, in_loop, nested)
            return
        self.emit(depth, "try:")
        self.emit(depth + 1, "try:")
        self.block(depth + 2, in_loop, nested + 2)
        self.emit(depth + 1, self.random.choice(["finally:", f"except ValueError as {self.name()}:"]))
        self.block(depth + 2, in_loop, nested + 2)
        self.emit(depth, f"except Exception as {self.name()}:")
        self.block(depth + 1, in_loop, nested + 1)
        self.emit(depth, "finally:")
        self.block(depth + 1, in_loop, nested + 1)

    def make_group(self, depth, in_loop, nested):
        self.emit(depth, "try:")
        self.emit(depth + 1, "if t(): raise ExceptionGroup('group', [ValueError(1), TypeError(2)])")
        self.emit(depth + 1, f"{self.name()} = t()")
        name = "" if self.leaves_at_once else f" as {self.name()}"
        self.emit(depth, f"except* ValueError{name}:")
        self.emit(depth + 1, f"{self.name()} = t()")
        self.emit(depth, "except* TypeError:")
        self.emit(depth + 1, f"{self.name()} = 5")

    def make_pattern(self, depth, in_loop, nested):
        subjects = ["(t(), 'text', [1, 2])", "{'k': t(), 'm': 2}", "Box(t)"]
        self.emit(depth, f"match {self.random.choice(subjects)}:")
        one, two, three = self.random.sample(NAMES, 3)
        patterns = [
            f"(0, {one}, [_, *{two}])",
            f"{{'k': 1 as {one}, **{two}}}",
            f"Box({one}, two={two})",
            f"(1 | 3) as {three}, *{one}",
            f"{{'m': {two}}} if t()",
            f"[{one}, str({two}), [{three}, _]] if t()",
        ]
        for pattern in self.random.sample(patterns, 3):
            self.emit(depth + 1, f"case {pattern}:")
            self.block(depth + 2, in_loop, nested + 1)
        if self.random.random() < 0.5:
            self.emit(depth + 1, "case _:")
            self.block(depth + 2, in_loop, nested + 1)
