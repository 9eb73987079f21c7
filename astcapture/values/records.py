"""The values captured in one function, in call order, with what is known of each."""

from __future__ import annotations

import difflib
import fnmatch
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

from astcapture.errors import CaptureError
from astcapture.record.weight import rough_size


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
        return f"<Record {self.key} {self.label}{where} {_in_words(self._form())}>"

    def _form(self) -> Form:
        """Its value's form; known of a stored value without reading it."""
        return form_of(self.value)


class Unknown(KeyError):
    """A `KeyError` whose message is meant to be read."""

    def __str__(self) -> str:
        return str(self.args[0])


class Records(Sequence[Any]):
    """A sequence of captured values: an int gives a value, a slice or a label gives `Records`.

    >>> records = Records([Record(1, "a", "m", "f", 3), Record(2, "b", "m", "f", 3)])
    >>> records[0], list(records["b"]), list(records[1:])
    (1, [2], [2])
    """

    def __init__(
        self, records: Sequence[Record] = (), why_empty: Callable[[str | None], str | None] = lambda label: None
    ) -> None:
        self._records = tuple(records)
        # Why there is no value, or none of a label, for those who ask for one.
        self._why_empty = why_empty

    @property
    def records(self) -> tuple[Record, ...]:
        """The `Record` of each value."""
        return self._records

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur, in order of first appearance."""
        return tuple(dict.fromkeys(record.label for record in self._records))

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Any]:
        return (record.value for record in self._records)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice | str) -> Records: ...
    def __getitem__(self, index: int | slice | str) -> Any:
        if isinstance(index, str):
            found = [record for record in self._records if record.label == index]
            if not found:
                reason = self._why_empty(index) or _listed("labels here", self.labels)
                raise Unknown(f"no value labelled {index!r}; {reason}")
            return Records(found)
        if isinstance(index, slice):
            return Records(self._records[index])
        if not self._records:
            known = self._why_empty(None)
            raise IndexError(f"there is no value here: {known}" if known else "there is no value here")
        return self._records[index].value

    def select(self, **filters: Any) -> Records:
        """The values whose record matches every filter.

        A filter is a field of `Record` or a tag. A string takes shell wildcards
        (``label="attn*"``), a function is asked (``lineno=lambda line: line > 10``), a list,
        set or tuple means any of its members, anything else is compared.

        Raises:
            CaptureError: a filter that is neither a field nor a tag of these records, and looks like a slip.
        """
        for name in filters:
            self._check_filter(name)
        return Records([record for record in self._records if all(_matches(record, *one) for one in filters.items())])

    def _check_filter(self, name: str) -> None:
        if name in _FILTERS or any(name in record.tags for record in self._records):
            return
        close = difflib.get_close_matches(name, _FILTERS, n=1)
        if close:
            raise CaptureError(f"select({name}=...): no record has a tag {name!r}; did you mean {close[0]!r}?")

    def by_layer(self) -> dict[str | None, Records]:
        """The values of each layer, in order of first appearance.

        Where records of several models are here, the keys are ``"MODEL:LAYER"``.
        """
        several = len({record.model for record in self._records if record.model is not None}) > 1
        layers: dict[str | None, list[Record]] = {}
        for record in self._records:
            key = record.layer if record.model is None or not several else f"{record.model}:{record.layer}"
            layers.setdefault(key, []).append(record)
        return {layer: Records(found) for layer, found in layers.items()}

    def stack(self) -> Any:
        """All values as one tensor (or array) with a new leading axis.

        Raises:
            CaptureError: there is nothing to stack, or the shapes differ.
        """
        from astcapture.values.arrays import one_shape

        one_shape(self._records, "to stack")
        values = list(self)
        torch = sys.modules.get("torch")
        if torch is not None and all(isinstance(value, torch.Tensor) for value in values):
            return torch.stack(values)
        import numpy

        return numpy.stack(values)

    def to_numpy(self) -> Any:
        """All values as one NumPy array with a new leading axis, tensors too.

        What NumPy has no dtype for becomes the next that it has: bfloat16 and float8 float32.

        Raises:
            CaptureError: there is nothing to stack, or the shapes differ.
        """
        from astcapture.values.arrays import to_numpy

        return to_numpy(self._records)

    def to_dask(self) -> Any:
        """All values as one dask array with a new leading axis, of stored ones a chunk for each shard.

        A chunk is read where it is worked on, so that a run may be larger than memory, and the workers of a
        cluster need nothing but the folder under the same path. Dtypes are those of `to_numpy`.

        Raises:
            CaptureError: dask is not installed, there is nothing to stack, or the shapes differ.
        """
        from astcapture.values.arrays import to_dask

        return to_dask(self._records)

    def __repr__(self) -> str:
        if not self._records:
            return "<Records: empty>"
        labels = ", ".join(self.labels)
        return f"<Records: {len(self)} × {labels}, the first {_in_words(self._records[0]._form())}>"


_FILTERS = ("key", *Record.__dataclass_fields__)


def _matches(record: Record, name: str, wanted: Any) -> bool:
    if name in _FILTERS:
        actual = getattr(record, name)
    elif name in record.tags:
        actual = record.tags[name]
    else:
        return False
    if isinstance(wanted, str):
        return isinstance(actual, str) and fnmatch.fnmatchcase(actual, wanted)
    if isinstance(wanted, (list, tuple, set, frozenset)):
        return actual in wanted
    if callable(wanted):
        return bool(wanted(actual))
    return bool(actual == wanted)


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else f"there are no {what}"


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of a tensor or array; None for all else, classes of arrays included."""
    try:
        shape = getattr(value, "shape", None)
    except RuntimeError:
        return None  # a nested tensor in torch's older layout has none
    return tuple(shape) if isinstance(shape, (tuple, list)) else None


def form_of(value: Any) -> Form:
    """The form of a value in memory."""
    shape, dtype = shape_of(value), getattr(value, "dtype", None)
    if shape is None:
        return Form(None, type(value).__name__, 0)
    name = str(dtype).removeprefix("torch.") if dtype is not None else type(value).__name__
    return Form(shape, name, _nbytes(value) if dtype is not None else 0)


def _nbytes(value: Any) -> int:
    try:
        return int(getattr(value, "nbytes", 0))
    except RuntimeError:
        return rough_size(value)  # a sparse tensor says nothing of that kind


def describe(value: Any) -> str:
    """A value in a few words: a tensor's or array's shape and dtype, else its type."""
    return _in_words(form_of(value))


def _in_words(form: Form) -> str:
    return form.dtype if form.shape is None else f"{form.dtype} {form.shape}"
