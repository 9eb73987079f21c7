"""The options of `install` that say how values are recorded, for all values of a hook or by pattern."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from astcapture.errors import CaptureError
from astcapture.record.torch.devices import read_device
from astcapture.record.torch.dtypes import read_dtype
from astcapture.targets.target import matcher

Reduce = Callable[..., Any]
#: The layer and the model that a value was recorded in.
Place = tuple[str, str]


class Taken(NamedTuple):
    """The second argument of a `reduce` function with two parameters; the fields are those of `Record`."""

    label: str
    module: str
    function: str
    lineno: int
    layer: str | None
    model: str | None
    tags: Mapping[str, Any]
    cell: int | None = None


@dataclass(frozen=True)
class Conversion:
    """How the values of a site are recorded.

    Attributes:
        copy: whether to keep a copy, which later in-place changes do not affect, or the value itself.
        device: the device on which tensors are kept; None to keep their device.
        dtype: the name of the dtype in which floating-point values are kept; None to keep their dtype.
        reduce: a function that is applied to the value before it is kept, of the value, or of the value and a `Taken`.
        grad: whether to keep the gradient of the value too.
        layers: patterns of the layers whose values are recorded; None for all, also for values outside any layer.
        reduce_takes_record: whether `reduce` gets a `Taken` as a second argument.
        models: functions that test the place of a value; one of them must accept it. None for every model.
    """

    copy: bool = True
    device: str | None = None
    dtype: str | None = None
    reduce: Reduce | None = None
    grad: bool = False
    layers: tuple[str, ...] | None = None
    reduce_takes_record: bool = False
    models: tuple[Callable[[Place | None], bool], ...] | None = None

    def takes(self, where: Place | None) -> bool:
        """Whether a value from this layer of this model is recorded."""
        return self.takes_model(where) and (
            self.layers is None or (where is not None and _is_chosen(self.layers, where[0]))
        )

    def takes_model(self, where: Place | None) -> bool:
        """Whether values of this model are recorded."""
        return self.models is None or any(takes(where) for takes in self.models)

    @property
    def takes_all(self) -> bool:
        """Whether values of every layer of every model are recorded."""
        return self.layers is None and self.models is None


@cache
def _is_chosen(patterns: tuple[str, ...], layer: str) -> bool:
    return any(matcher(pattern)(layer) for pattern in patterns)


#: The options of a hook without any.
PLAIN = Conversion()

#: For each option, pairs of a pattern and a setting, in the order in which they are tried.
_Rules = Mapping[str, tuple[tuple[str, Any], ...]]


@dataclass(frozen=True)
class Conversions:
    """The options of one hook."""

    rules: _Rules

    @property
    def plain(self) -> bool:
        """Whether all options have their default values."""
        return all(value == getattr(PLAIN, option) for option, pairs in self.rules.items() for _, value in pairs)

    def of(self, module: str, qualname: str, label: str) -> Conversion:
        """How the values of a label in a function are recorded: for each option, the first pattern that matches."""
        chosen = {}
        for option, pairs in self.rules.items():
            for pattern, value in pairs:
                if matches(pattern, module, qualname, label):
                    chosen[option] = value
                    break
        return Conversion(**chosen, reduce_takes_record=_takes_record(chosen.get("reduce")))

    @property
    def patterns(self) -> list[tuple[str, str]]:
        """Every pattern that the user wrote, with its option."""
        return [(option, pattern) for option, pairs in self.rules.items() for pattern, _ in pairs if pattern != "*"]


def matches(pattern: str, module: str, qualname: str, label: str) -> bool:
    """Whether a pattern matches a label: ``MODULE:QUALNAME``, ``MODULE:QUALNAME=LABEL`` or ``LABEL``, with wildcards.

    >>> matches("*:Attention.forward=attn", "m", "Attention.forward", "attn")
    True
    >>> matches("att*", "m", "Attention.forward", "attn")
    True
    """
    if ":" not in pattern:
        return bool(matcher(pattern)(label))
    whole = f"{module}:{qualname}={label}" if "=" in pattern else f"{module}:{qualname}"
    return bool(matcher(pattern)(whole))


def read_conversions(
    copy: Any = True, device: Any = None, dtype: Any = None, reduce: Any = None, grad: Any = False, layers: Any = None
) -> Conversions:
    """Check the options of `install`, each a setting or a mapping from patterns to settings.

    Raises:
        CaptureError: an invalid setting; the message quotes it.

    >>> read_conversions(dtype={"attn": "float16"}).of("m", "f", "attn").dtype
    'float16'
    """
    given = {"copy": copy, "device": device, "dtype": dtype, "reduce": reduce, "grad": grad, "layers": layers}
    return Conversions({option: _rules(option, value) for option, value in given.items()})


def _rules(option: str, value: Any) -> tuple[tuple[str, Any], ...]:
    if not isinstance(value, Mapping):
        return (("*", _READERS[option](f"{option}={value!r}", value)),)
    rules = []
    for pattern, one in value.items():
        where = f"{option}={{{pattern!r}: {one!r}}}"
        if not isinstance(pattern, str) or not pattern.strip():
            raise CaptureError(f'{where}: a pattern is a string: write {{"MODULE:QUALNAME=LABEL": ...}} or "LABEL"')
        if pattern.startswith("@"):
            raise CaptureError(f'{where}: a pattern names functions or labels, not a recipe: write "*" for all of them')
        rules.append((pattern.strip(), _READERS[option](where, one)))
    return tuple(rules)


def _read_switch(where: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    option = where.partition("=")[0]
    raise CaptureError(f"{where}: write {option}=True or {option}=False")


def _read_layers(where: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, (list, tuple, set, frozenset)) and all(isinstance(one, str) for one in listed):
        patterns = tuple(part.strip() for one in listed for part in one.split(",") if part.strip())
        if patterns:
            return patterns
    raise CaptureError(f'{where}: write layer patterns, layers="blocks.11.*" or layers=["blocks.0.*", "head"]')


def _takes_record(reduce: Any) -> bool:
    """Whether a function has a second required parameter."""
    if isinstance(reduce, Imported):
        return True  # decided when it is imported
    try:
        parameters = inspect.signature(reduce).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is inspect.Parameter.empty for one in parameters) == 2


def _read_reduce(where: str, value: Any) -> Reduce | None:
    if value is None or callable(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str):
        module, colon, name = value.partition(":")
        if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            return Imported(module, name)
    raise CaptureError(
        f'{where}: write a function of the value, reduce=lambda attn: attn.mean(1), or its name, "MODULE:FUNCTION"'
    )


@dataclass(frozen=True)
class Imported:
    """A function by name, imported with the first value: reading a setting must not import modules of the program."""

    module: str
    name: str

    def __call__(self, value: Any, record: Taken) -> Any:
        function: Any = importlib.import_module(self.module)
        for part in self.name.split("."):
            function = getattr(function, part)
        return function(value, record) if _takes_record(function) else function(value)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "copy": _read_switch,
    "device": read_device,
    "dtype": read_dtype,
    "reduce": _read_reduce,
    "grad": _read_switch,
    "layers": _read_layers,
}
