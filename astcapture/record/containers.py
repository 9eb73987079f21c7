"""Reads containers and builds new ones with other contents, without running code of the program.

No ``__init__``, ``__iter__``, ``__getattr__`` or property of the program's classes is called: it could have side
effects or be captured itself. Contents are read and written through the built-in types that a class derives from. If
that is not possible, the container cannot be opened and is kept by reference.

This is one file because it is one table: for each type, how it is opened.
"""

from __future__ import annotations

import builtins
import enum
from abc import ABCMeta
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from operator import is_
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, NamedTuple

from astcapture.record.snapshot import BY_REFERENCE
from astcapture.record.torch.tensors import PLAIN_TENSORS, is_tensor

#: How many levels of containers are opened, including the outermost.
DEPTH = 4


class Opened(NamedTuple):
    """The contents of a container, and how to build another one like it.

    Attributes:
        values: a snapshot of its contents.
        new: a new, empty container for `fill`, which may contain itself; None if it has to be built in one step.
        fill: builds the container with other values in place of `values` and returns it.
    """

    values: list[Any]
    new: Any
    fill: Callable[[list[Any]], Any]


def open_container(value: Any) -> Opened | None:
    """The contents of a container; None for anything else, and for containers that cannot be rebuilt safely."""
    kind = type(value)
    opener = _EXACT.get(kind)
    if opener is not None:
        return opener(value)
    # A class with another metaclass may run its own code for the checks below.
    if kind in BY_REFERENCE or type(kind) not in _METACLASSES or hasattr(kind, "__del__"):
        return None
    if issubclass(kind, tuple):
        return _open_tuple_of_names(value)
    if not hasattr(kind, "__dataclass_fields__") or is_module_type(kind):
        return None
    if issubclass(kind, OrderedDict):
        return _open_model_output(value)
    return _open_dataclass(value)


def whole(value: Any, leaf: Callable[[Any], Any], by_reference: Callable[[Any], None] = lambda value: None) -> Any:
    """Apply `leaf` to everything in a value that is not a container, and return it in new containers.

    An object that occurs twice is still one object, and a container that contains itself still does. A tuple in which
    nothing changes is returned itself. Containers deeper than `DEPTH` are kept.

    Args:
        value: a container, or an argument for `leaf`.
        leaf: called for tensors, arrays and all other objects, but not for numbers, strings and the like.
        by_reference: called for each object that is kept by reference.
    """
    opened = open_container(value)
    if opened is not None:
        return _Whole(leaf, by_reference).of(value, DEPTH)
    new = leaf(value)
    if new is value and type(value) not in BY_REFERENCE:
        by_reference(value)
    return new


class _Whole:
    def __init__(self, leaf: Callable[[Any], Any], by_reference: Callable[[Any], None]) -> None:
        self._leaf = leaf
        self._by_reference = by_reference
        # By id, which is unique because the container keeps the originals alive.
        self._known: dict[int, Any] = {}

    def of(self, value: Any, depth: int) -> Any:
        if type(value) in BY_REFERENCE:
            return value
        known = self._known
        if id(value) in known:
            return known[id(value)]
        opened = open_container(value)
        if opened is None or not depth:
            new = self._leaf(value) if opened is None else value
            if new is value:
                self._by_reference(value)
        else:
            new = self._filled(value, opened, depth - 1)
        known[id(value)] = new
        return new

    def _filled(self, value: Any, opened: Opened, depth: int) -> Any:
        if BY_REFERENCE.issuperset(map(type, opened.values)):
            return value if opened.new is None else opened.fill(opened.values)
        if opened.new is not None:
            self._known[id(value)] = opened.new
            return opened.fill([self.of(one, depth) for one in opened.values])
        made = [self.of(one, depth) for one in opened.values]
        if id(value) in self._known:  # it holds itself, by way of a list, say
            return self._known[id(value)]
        return value if all(map(is_, made, opened.values)) else opened.fill(made)


def everything_in(value: Any) -> Iterator[Any]:
    """A value, or everything in it if it is a container: each object once, without numbers."""
    seen: set[int] = set()
    waiting = [(value, DEPTH)]
    while waiting:
        one, depth = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        values = values_in(one) if depth else ()
        if values and not _NUMBERS.issuperset(map(type, values)):
            waiting += [(inner, depth - 1) for inner in values if type(inner) not in _NUMBERS]


def values_in(value: Any) -> Sequence[Any]:
    """The contents of a container; nothing for anything else."""
    kind = type(value)
    if kind is tuple or kind is list:
        return value[:]  # type: ignore[no-any-return]
    opened = open_container(value)
    return () if opened is None else opened.values


#: Types that are too small to be checked one by one.
_NUMBERS = frozenset({type(None), bool, int, float, complex})


# --- built-in types


def _open_list(value: list[Any]) -> Opened:
    new: list[Any] = []

    def fill(made: list[Any]) -> list[Any]:
        new.extend(made)
        return new

    return Opened(value[:], new, fill)


def _open_tuple(value: tuple[Any, ...]) -> Opened:
    return Opened(list(value), None, tuple)


def _open_deque(value: deque[Any]) -> Opened:
    new: deque[Any] = deque(maxlen=value.maxlen)

    def fill(made: list[Any]) -> deque[Any]:
        new.extend(made)
        return new

    return Opened(list(value), new, fill)


def _open_set(value: set[Any]) -> Opened:
    members = list(value)
    if not all(map(_has_a_hash_of_its_own, members)):
        return _as_it_is(value.copy())
    new: set[Any] = set()

    def fill(made: list[Any]) -> set[Any]:
        new.update(made)
        return new

    return Opened(members, new, fill)


def _open_frozenset(value: frozenset[Any]) -> Opened | None:
    members = list(value)
    return Opened(members, None, frozenset) if all(map(_has_a_hash_of_its_own, members)) else None


def _open_bytearray(value: bytearray) -> Opened:
    return _as_it_is(bytearray(value))


def _as_it_is(copied: Any) -> Opened:
    """A copy of a container whose contents do not have to be replaced."""
    return Opened([], copied, lambda made: copied)


def _open_dict(value: dict[Any, Any]) -> Opened | None:
    copied = value.copy()  # at one moment, whatever other threads do
    if BY_REFERENCE.issuperset(map(type, copied.values())):
        return _as_it_is(copied)
    return _with_keys(list(copied.items()), {}, dict.__setitem__)


def _open_counter(value: Any) -> Opened | None:
    return _with_keys(list(dict.items(value)), dict.__new__(type(value)), dict.__setitem__)


def _open_defaultdict(value: defaultdict[Any, Any]) -> Opened | None:
    return _with_keys(list(value.items()), defaultdict(value.default_factory), dict.__setitem__)


def _open_ordered(value: OrderedDict[Any, Any]) -> Opened | None:
    return _with_keys(list(OrderedDict.items(value)), OrderedDict(), OrderedDict.__setitem__)


def _with_keys(pairs: list[tuple[Any, Any]], new: Any, put: Callable[[Any, Any, Any], None]) -> Opened | None:
    keys = [key for key, _ in pairs]
    if not all(map(_has_a_hash_of_its_own, keys)):
        return None

    def fill(made: list[Any]) -> Any:
        for key, one in zip(keys, made, strict=True):
            put(new, key, one)
        return new

    return Opened([one for _, one in pairs], new, fill)


_EXACT: dict[type, Callable[[Any], Opened | None]] = {
    list: _open_list,
    tuple: _open_tuple,
    dict: _open_dict,
    set: _open_set,
    frozenset: _open_frozenset,
    bytearray: _open_bytearray,
    deque: _open_deque,
    OrderedDict: _open_ordered,
    defaultdict: _open_defaultdict,
    Counter: _open_counter,
}

#: Of Python 3.15.
_FROZENDICT: Any = getattr(builtins, "frozendict", None)


def _open_frozendict(value: Any) -> Opened | None:
    keys = list(value)
    if not all(map(_has_a_hash_of_its_own, keys)):
        return None
    return Opened(list(value.values()), None, lambda made: _FROZENDICT(zip(keys, made, strict=True)))


if _FROZENDICT is not None:
    _EXACT[_FROZENDICT] = _open_frozendict

# --- classes created by the standard library


def _open_tuple_of_names(value: Any) -> Opened | None:
    kind = type(value)
    if kind.__dict__.get("n_sequence_fields", -1) == kind.__dict__.get("n_fields"):
        # A tuple of the interpreter's C code, as torch's functions return: ``torch.return_types.max``.
        return Opened(list(tuple.__iter__(value)), None, lambda made: kind.__new__(kind, made))
    if not _is_defined("_fields", kind) or (kind.__dictoffset__ and _attributes(value) != ({}, ())):
        return None
    return Opened(list(tuple.__iter__(value)), None, lambda made: tuple.__new__(kind, made))


def _open_dataclass(value: Any) -> Opened | None:
    kind = type(value)
    if kind.__flags__ & _ABSTRACT or any(not base.__flags__ & _HEAP for base in kind.__mro__[:-1]):
        return None  # `object` makes no instance of it
    return _with_attributes(value, object.__new__(kind))


def _open_model_output(value: Any) -> Opened | None:
    """A dict whose items are also attributes: ``transformers.utils.ModelOutput``, diffusers' ``BaseOutput``."""
    kind = type(value)
    new: Any = OrderedDict.__new__(kind)
    items = _with_keys(list(OrderedDict.items(value)), new, OrderedDict.__setitem__)
    attributes = _with_attributes(value, new)
    if items is None or attributes is None:
        return None
    count, fill_items, fill_attributes = len(items.values), items.fill, attributes.fill

    def fill(made: list[Any]) -> Any:
        fill_items(made[:count])
        return fill_attributes(made[count:])

    return Opened([*items.values, *attributes.values], new, fill)


def _with_attributes(value: Any, new: Any) -> Opened | None:
    found = _attributes(value)
    if found is None:
        return None
    named, members = found
    names = list(named)

    def fill(made: list[Any]) -> Any:
        if names:
            _dict_of(new).update(zip(names, made, strict=False))
        for (member, _), one in zip(members, made[len(names) :], strict=True):
            member.__set__(new, one)
        return new

    return Opened([*named.values(), *(one for _, one in members)], new, fill)


def _attributes(value: Any) -> tuple[dict[str, Any], tuple[tuple[MemberDescriptorType, Any], ...]] | None:
    """The contents of an instance's ``__dict__`` and slots; None if a class hides its ``__dict__``."""
    kind = type(value)
    named = _dict_of(value) if kind.__dictoffset__ else {}
    if type(named) is not dict:
        return None
    members = []
    for base in kind.__mro__:
        if "__slots__" in base.__dict__:
            for member in base.__dict__.values():
                if type(member) is MemberDescriptorType:
                    # Not `contextlib.suppress`, which may be captured itself.
                    try:  # noqa: SIM105
                        members.append((member, member.__get__(value, kind)))
                    except AttributeError:
                        pass  # never set
    return named.copy(), tuple(members)


def _dict_of(value: Any) -> Any:
    """The ``__dict__`` of an instance, read with the built-in descriptor; None if a class hides it."""
    descriptor: Any = next(
        (base.__dict__["__dict__"] for base in type(value).__mro__ if "__dict__" in base.__dict__), None
    )
    # `types.SimpleNamespace` has a member of its C structure there.
    own = type(descriptor) in (GetSetDescriptorType, MemberDescriptorType)
    return descriptor.__get__(value, type(value)) if own else None


def attributes_of(value: Any) -> list[Any]:
    """The values of an instance's attributes, for any class without a custom metaclass."""
    found = _attributes(value) if type(type(value)) in _METACLASSES else None
    return [] if found is None else [*found[0].values(), *(one for _, one in found[1])]


_METACLASSES = frozenset({type, ABCMeta})
_HEAP = 1 << 9
_ABSTRACT = 1 << 20


def _is_defined(name: str, kind: type) -> bool:
    return any(name in base.__dict__ for base in kind.__mro__)


def is_module_type(kind: type) -> bool:
    """Whether a class is an ``nn.Module``, of which a copy would be another model."""
    # Asked through `type`, since a metaclass may run its own code.
    return any(_name_of(base) == "Module" and _home_of(base) == "torch.nn.modules.module" for base in _bases_of(kind))


_bases_of, _name_of, _home_of = (type.__dict__[name].__get__ for name in ("__mro__", "__name__", "__module__"))


_HASHES = frozenset(kind.__dict__["__hash__"] for kind in (object, str, int, float, bytes, complex, range, enum.Enum))


def _has_a_hash_of_its_own(key: Any) -> bool:
    """Whether the hash of a key is computed by Python, torch or an enum, not by code of the program."""
    kind = type(key)
    if kind in BY_REFERENCE or kind is frozenset:
        return True
    if kind is tuple:
        return all(map(_has_a_hash_of_its_own, key))
    if is_tensor(key):
        return kind in PLAIN_TENSORS
    if not issubclass(type(kind), (ABCMeta, enum.EnumMeta)) and type(kind) is not type:
        return False
    if not kind.__flags__ & _HEAP:
        return True
    return next(base.__dict__["__hash__"] for base in kind.__mro__ if "__hash__" in base.__dict__) in _HASHES
