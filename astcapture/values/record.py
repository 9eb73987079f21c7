"""One captured value, with what is known of it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from astcapture.record.weight import rough_size
from astcapture.values.html import Table, only_looks
from astcapture.values.lines import shown_line


class Form(NamedTuple):
    """What a value looks like: its shape (None of what is no array), its dtype or type, its bytes."""

    shape: tuple[int, ...] | None
    dtype: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Record:
    """One captured value.

    Attributes:
        value: the value: a detached copy of a tensor, a copy of an array, else the object itself.
        label: the name or label that it was captured under.
        module: the module of the function, as targets spell it.
        function: the qualname of the function.
        lineno: the line of the return that ran; of the function's last line where it fell off its end.
        layer: the path of the module being run in the topmost module that holds it, ``None`` where none is.
        call: the number of this execution of the function on that layer of that model, from 0: the step of a
            generation loop.
        rank: the rank of the process, 0 where there is only one.
        thread: the identity of the thread, as `threading.get_ident` gives it.
        tags: what `astcapture.tag` attached.
        model: the class of the model that the layer is in, ``"ViT"``; ``"ViT#2"`` for the second live one of a class.
        cell: the number of the notebook's cell that defined the function, 5 for ``In[5]``; the line is in it. ``None``
            for a function of a module.
    """

    value: Any
    label: str
    module: str
    function: str
    lineno: int
    layer: str | None = None
    call: int | None = None
    rank: int = 0
    thread: int = 0
    tags: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    cell: int | None = None

    @property
    def key(self) -> str:
        return f"{self.module}:{self.function}"

    @property
    def grad(self) -> Any:
        """The gradient that reached the value in backward; None where none did, or ``grad=True`` was not asked for."""
        return None

    def __repr__(self) -> str:
        where = f" layer={self.layer}" if self.layer is not None else ""
        where += f" model={self.model}" if self.model is not None else ""
        where += f" cell={self.cell}" if self.cell is not None else ""
        return f"<Record {self.key} {self.label}{where} {in_words(self.form())}>"

    def form(self) -> Form:
        """What the value looks like; known of a stored value without reading it."""
        return form_of(self.value)

    @only_looks
    def _repr_html_(self) -> str:
        shape, dtype, nbytes = self.form()
        facts = {
            "function": self.key,
            "label": self.label,
            "model": self.model,
            "layer": self.layer,
            "call": self.call,
            "cell": in_cell(self.cell) if self.cell is not None else None,
            "line": str(self.lineno) if self.cell is not None else shown_line(self.module, self.lineno),
            "shape": shape,
            "dtype": dtype,
            "bytes": f"{nbytes:,}" if nbytes else None,
            "tags": tags_in_words(self.tags) or None,
        }
        rows = [(name, str(fact)) for name, fact in facts.items() if fact is not None]
        return Table(rows=rows, caption="Record").html()


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a tensor or array; None for all else, classes of arrays included."""
    try:
        shape = getattr(value, "shape", None)
    except RuntimeError:
        return None  # a nested tensor in torch's older layout has none
    return tuple(shape) if isinstance(shape, (tuple, list)) else None


def form_of(value: Any) -> Form:
    """The form of a value in memory; of an object whose attributes fail, its type."""
    try:
        shape, dtype = shape_of(value), getattr(value, "dtype", None)
        if shape is not None and dtype is not None:
            return Form(shape, str(dtype).removeprefix("torch."), _nbytes(value))
    except Exception:
        shape = None
    return Form(shape, type(value).__name__, 0)


def _nbytes(value: Any) -> int:
    try:
        return int(getattr(value, "nbytes", 0))
    except RuntimeError:
        return rough_size(value)  # a sparse tensor says nothing of that kind


def in_cell(number: int) -> str:
    """A cell as IPython calls it: ``In[5]``."""
    return f"In[{number}]"


def tags_in_words(tags: Mapping[str, Any]) -> str:
    """Tags as they were written: ``image='dog.jpg', step=3``."""
    return ", ".join(f"{name}={reprlib.repr(tag)}" for name, tag in tags.items())


def describe(value: Any) -> str:
    """A value in a few words: a tensor's or array's shape and dtype, else its type."""
    return in_words(form_of(value))


def in_words(form: Form) -> str:
    return form.dtype if form.shape is None else f"{form.dtype} {form.shape}"
