"""Random functions of nested control flow, and an oracle for what a capture at their returns sees."""

from __future__ import annotations

import random

NAMES = ("a", "b", "c", "d")
HEADER = """
class Suppress:
    def __enter__(self): return 5
    def __exit__(self, kind, *rest): return kind is not None and issubclass(kind, ValueError)
class Flaky:
    def __init__(self, steps): self.steps = steps
    def __call__(self):
        step = self.steps.pop() if self.steps else 0
        if step == 7: raise ValueError("seven")
        if step == 8: raise TypeError("eight")
        return step % 2
"""


class Program:
    """One function ``f(t, a)``: `t` gives its decisions, and raises now and then.

    Drawn by a seed, or by the generator that is given, which may be one that hypothesis makes.
    """

    def __init__(self, seed: int | random.Random) -> None:
        self.random = seed if isinstance(seed, random.Random) else random.Random(seed)
        self.lines: list[str] = []
        self.budget = 22
        self.shared = self.random.random() < 0.2
        self.generator = self.random.random() < 0.15
        self.emit(0, "def f(t, a):")
        if self.shared:
            self.emit(1, "def unbind():")
            self.emit(2, "nonlocal b")
            self.emit(2, "del b")
            self.emit(1, "def bind():")
            self.emit(2, "nonlocal b")
            self.emit(2, "b = t()")
        if self.shared or self.random.random() < 0.5:
            self.emit(1, "b = 'b'")
        self.block(1, False, 0)

    def emit(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def block(self, depth: int, in_loop: bool, nested: int, in_finally: bool = False) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.statement(depth, in_loop, nested, in_finally)

    def name(self) -> str:
        return self.random.choice(NAMES)

    def statement(self, depth: int, in_loop: bool, nested: int, in_finally: bool) -> None:
        self.budget -= 1
        kinds = ["assign"] * 5 + [
            "del",
            "return",
            "return",
            "call",
            "raise",
            "walrus",
            "unpack",
            "import",
            "aug",
            "def",
        ]
        if self.generator:
            kinds.append("yield")
        if self.shared:
            kinds += ["unbind", "bind"]
        if in_loop:
            kinds += ["break", "continue"]
        if nested < 4 and self.budget > 0:
            kinds += ["if", "if", "for", "while", "try", "try", "try", "with", "match", "endless"]
        getattr(self, "make_" + self.random.choice(kinds))(depth, in_loop, nested)

    def make_assign(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = t()")

    def make_aug(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} += 1")

    def make_unpack(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()}, *{self.name()} = t(), 2, 3")

    def make_walrus(self, depth, in_loop, nested):
        self.emit(depth, f"t() and ({self.name()} := t())")

    def make_import(self, depth, in_loop, nested):
        self.emit(depth, f"import sys as {self.name()}")

    def make_def(self, depth, in_loop, nested):
        self.emit(depth, f"def {self.name()}(): return t()")

    def make_del(self, depth, in_loop, nested):
        self.emit(depth, f"del {self.name()}")

    def make_call(self, depth, in_loop, nested):
        self.emit(depth, "t()")

    def make_unbind(self, depth, in_loop, nested):
        self.emit(depth, "unbind()")

    def make_bind(self, depth, in_loop, nested):
        self.emit(depth, "bind()")

    def make_yield(self, depth, in_loop, nested):
        self.emit(depth, f"{self.name()} = yield t()")

    def make_raise(self, depth, in_loop, nested):
        self.emit(depth, self.random.choice(["raise ValueError('raised')", "raise TypeError('raised')"]))

    def make_return(self, depth, in_loop, nested):
        value = self.random.choice(
            ["", " None", " t()", f" {self.name()}", f" ({self.name()}, t())", f" ({self.name()} := t())"]
        )
        self.emit(depth, f"return{value}")

    def make_break(self, depth, in_loop, nested):
        self.emit(depth, "break")

    def make_continue(self, depth, in_loop, nested):
        self.emit(depth, "continue")

    def make_if(self, depth, in_loop, nested):
        self.emit(depth, "if t():")
        self.block(depth + 1, in_loop, nested + 1)
        for _ in range(self.random.choice([0, 0, 1])):
            self.emit(depth, "elif t():")
            self.block(depth + 1, in_loop, nested + 1)
        if self.random.random() < 0.5:
            self.emit(depth, "else:")
            self.block(depth + 1, in_loop, nested + 1)

    def make_for(self, depth, in_loop, nested):
        self.emit(depth, f"for {self.name()} in range({self.random.randint(0, 2)}):")
        self.block(depth + 1, True, nested + 1)
        self.otherwise(depth, in_loop, nested)

    def make_while(self, depth, in_loop, nested):
        self.emit(depth, "while t():")
        self.block(depth + 1, True, nested + 1)
        self.otherwise(depth, in_loop, nested)

    def make_endless(self, depth, in_loop, nested):
        self.emit(depth, "while True:")
        self.emit(depth + 1, "if not t(): break")
        self.block(depth + 1, True, nested + 1)

    def otherwise(self, depth, in_loop, nested):
        if self.random.random() < 0.4:
            self.emit(depth, "else:")
            self.block(depth + 1, in_loop, nested + 1)

    def make_try(self, depth, in_loop, nested):
        self.emit(depth, "try:")
        self.block(depth + 1, in_loop, nested + 1)
        handlers = self.random.randint(0, 2)
        for kind in self.random.sample(["ValueError", "TypeError"], handlers):
            named = self.random.choice(["", f" as {self.name()}"])
            self.emit(depth, f"except {kind}{named}:")
            self.block(depth + 1, in_loop, nested + 1)
        if handlers and self.random.random() < 0.3:
            self.emit(depth, "else:")
            self.block(depth + 1, in_loop, nested + 1)
        if not handlers or self.random.random() < 0.4:
            self.emit(depth, "finally:")
            self.block(depth + 1, in_loop, nested + 1)

    def make_with(self, depth, in_loop, nested):
        named = self.random.choice(["", f" as {self.name()}"])
        self.emit(depth, f"with Suppress(){named}:")
        self.block(depth + 1, in_loop, nested + 1)

    def make_match(self, depth, in_loop, nested):
        self.emit(depth, "match t():")
        for pattern in self.random.sample(["0", f"1 as {self.name()}", f"{self.name()} if t()", "[_, *_]"], 2):
            self.emit(depth + 1, f"case {pattern}:")
            self.block(depth + 2, in_loop, nested + 1)

    @property
    def source(self) -> str:
        return HEADER + "\n".join(self.lines) + "\n"

    @property
    def probed(self) -> str:
        """The same program, with every exit handing its locals to `probe` after the value is evaluated."""
        lines = []
        for line in self.lines:
            code = line.lstrip()
            if code.startswith("return"):
                value = code.removeprefix("return").strip() or "None"
                line = line[: len(line) - len(code)] + f"return probe({value}, locals())"
            elif code.startswith("def ") and code.endswith("return t()"):
                pass
            lines.append(line)
        return HEADER + "\n".join(lines) + "\n    probe(None, locals())\n"
