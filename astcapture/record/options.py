"""What `install` is told of how values are taken: for all of a hook's values, or for each pattern of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from astcapture.errors import CaptureError
from astcapture.record.devices import read_device
from astcapture.record.dtypes import read_dtype
from astcapture.targets.target import matcher

Reduce = Callable[[Any], Any]


@dataclass(frozen=True)
class Conversion:
    """How the values of a site are taken.

    Attributes:
        copy: keep a copy, which later changes in place do not reach; else the value itself.
        device: where tensors are kept; None where they are.
        dtype: what floating values are kept in, by name; None as they are.
        reduce: what is made of a value before it is kept.
        grad: keep the gradient that reaches the value in backward too.
    """

    copy: bool = True
    device: str | None = None
    dtype: str | None = None
    reduce: Reduce | None = None
    grad: bool = False


#: What a hook does that says nothing of it.
PLAIN = Conversion()

#: For each option, its settings in the order in which they are tried, each with the pattern that it is for.
_Rules = Mapping[str, tuple[tuple[str, Any], ...]]


@dataclass(frozen=True)
class Conversions:
    """The options of one hook."""

    rules: _Rules

    @property
    def plain(self) -> bool:
        """Whether every value is taken as it is without any option."""
        return all(value == getattr(PLAIN, option) for option, pairs in self.rules.items() for _, value in pairs)

    def of(self, module: str, qualname: str, label: str) -> Conversion:
        """How the values of a label in a function are taken: of each option, the first pattern that matches."""
        chosen = {}
        for option, pairs in self.rules.items():
            for pattern, value in pairs:
                if matches(pattern, module, qualname, label):
                    chosen[option] = value
                    break
        return Conversion(**chosen)

    @property
    def patterns(self) -> list[tuple[str, str]]:
        """Every pattern that the user wrote, with the option that it belongs to."""
        return [(option, pattern) for option, pairs in self.rules.items() for pattern, _ in pairs if pattern != "*"]


def matches(pattern: str, module: str, qualname: str, label: str) -> bool:
    """Whether a pattern means a label: ``MODULE:QUALNAME``, ``MODULE:QUALNAME=LABEL`` or ``LABEL``, with wildcards.

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
    copy: Any = True, device: Any = None, dtype: Any = None, reduce: Any = None, grad: Any = False
) -> Conversions:
    """Check the options as `install` takes them, each a setting or a mapping from patterns to settings.

    Raises:
        CaptureError: one that cannot be meant; the message quotes it.

    >>> read_conversions(dtype={"attn": "float16"}).of("m", "f", "attn").dtype
    'float16'
    """
    given = {"copy": copy, "device": device, "dtype": dtype, "reduce": reduce, "grad": grad}
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
    """A function by name, imported when the first value comes: a setting must not import a program's modules."""

    module: str
    name: str

    def __call__(self, value: Any) -> Any:
        function: Any = importlib.import_module(self.module)
        for part in self.name.split("."):
            function = getattr(function, part)
        return function(value)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "copy": _read_switch,
    "device": read_device,
    "dtype": read_dtype,
    "reduce": _read_reduce,
    "grad": _read_switch,
}
