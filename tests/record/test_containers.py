"""Containers are copied whole, and nothing of the program's runs for it."""

from __future__ import annotations

import copy
import enum
import sys
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import hypothesis
import numpy
import pytest
from hypothesis import strategies

from astcapture.record.containers import DEPTH, everything_in, open_container, values_in
from astcapture.record.options import PLAIN, Conversion
from astcapture.record.small import MOST, SMALL
from astcapture.record.taking import taken
from astcapture.record.weight import Scale, rough_size, whole_size


def array(*numbers: float) -> Any:
    return numpy.array(numbers or (1.0, 2.0))


def recorded(value: Any, **options: Any) -> Any:
    return taken(value, Conversion(**options))


class Named(NamedTuple):
    context: Any
    probs: Any


Old = namedtuple("Old", "context probs")


class Methods(Old):
    __slots__ = ()

    def total(self) -> Any:
        return self.context + self.probs


@dataclass
class Output:
    probs: Any
    n: int = 1
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    probs: Any


@dataclass(frozen=True, slots=True)
class Slotted:
    probs: Any
    other: Any = None


T = TypeVar("T")


@dataclass
class Holder(Generic[T]):
    probs: T


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


@dataclass
class Square(Shape):
    probs: Any

    def area(self) -> float:
        return 1.0


#: One of each kind of container, around one array, with what finds the array in it.
AROUND: dict[str, tuple[Any, Any]] = {
    "tuple": (lambda one: (1, one), lambda made: made[1]),
    "list": (lambda one: [one, "x"], lambda made: made[0]),
    "dict": (lambda one: {"probs": one}, lambda made: made["probs"]),
    "dict of other keys": (lambda one: {(1, None): one, 2: 3}, lambda made: made[1, None]),
    "OrderedDict": (lambda one: OrderedDict(probs=one), lambda made: made["probs"]),
    "defaultdict": (lambda one: defaultdict(list, probs=one), lambda made: made["probs"]),
    "Counter": (lambda one: Counter({"probs": one}), lambda made: made["probs"]),
    "deque": (lambda one: deque([one], maxlen=3), lambda made: made[0]),
    "NamedTuple": (lambda one: Named(None, one), lambda made: made.probs),
    "namedtuple": (lambda one: Old(one, 2), lambda made: made.context),
    "a class of a namedtuple": (lambda one: Methods(one, 2), lambda made: made.context),
    "dataclass": (Output, lambda made: made.probs),
    "frozen dataclass": (Frozen, lambda made: made.probs),
    "dataclass with slots": (Slotted, lambda made: made.probs),
    "generic dataclass": (Holder, lambda made: made.probs),
    "dataclass of an abstract class": (Square, lambda made: made.probs),
}


@pytest.mark.parametrize("kind", AROUND)
def test_an_array_in_a_container_is_copied_and_the_container_is_another_of_its_type(kind: str):
    make, find = AROUND[kind]
    inside = array(1, 2)
    value = make(inside)
    made = recorded(value)
    inside += 10
    assert type(made) is type(value) and made is not value
    assert find(made).tolist() == [1, 2]
    assert find(value) is inside


@pytest.mark.parametrize("kind", AROUND)
def test_with_copy_false_the_array_is_the_programs_own(kind: str):
    make, find = AROUND[kind]
    inside = array(1, 2)
    assert find(recorded(make(inside), copy=False)) is inside


@pytest.mark.parametrize("kind", AROUND)
def test_the_bytes_of_an_array_count_wherever_it_is(kind: str):
    make, _ = AROUND[kind]
    value = make(numpy.zeros(100_000))
    for size in (rough_size(value), whole_size(value)):
        assert 800_000 < size < 802_000


def test_containers_are_alike_that_change_later_and_hold_no_array():
    for value, change in (
        ({"n": 1}, lambda one: one.update(n=2)),
        ([1, "x"], lambda one: one.append(3)),
        (list(range(1000)), lambda one: one.clear()),
        ({1, 2}, lambda one: one.add(3)),
        (bytearray(b"ab"), lambda one: one.append(3)),
        (deque([1, 2]), lambda one: one.append(3)),
        (defaultdict(int, a=1), lambda one: one["b"]),
        (Output(1), lambda one: setattr(one, "n", 5)),
        ([[[[1]]]], lambda one: one[0][0][0].append(2)),
    ):
        before = copy.deepcopy(value)
        made = recorded(value)
        change(value)
        assert made == before != value


def test_a_tuple_that_cannot_change_is_that_tuple():
    for value in ((), (1, "x", None), ((1, 2), (3, frozenset({4}))), Named(1, (2,)), frozenset({1})):
        assert recorded(value) is value


def test_an_array_that_is_there_twice_is_copied_once():
    inside = array()
    pair, others = recorded(([inside, inside], {"a": inside}))
    assert pair[0] is pair[1] is others["a"] is not inside
    whole_of = whole_size((inside, [inside]))
    assert whole_of < 2 * inside.nbytes + 1000


def test_containers_that_hold_themselves_are_copied_as_such():
    loop: list[Any] = [array(7)]
    loop += [loop, {"loop": loop}]
    made = recorded(loop)
    assert made is not loop and made[1] is made and made[2]["loop"] is made
    made = recorded((loop, loop))
    assert made[0] is made[1] is made[0][1]
    through: tuple[Any, ...] = ([],)
    through[0].append(through)
    made = recorded(through)
    assert made[0][0][0] is made[0] and made[0] is not through[0]
    assert rough_size(loop) > 0 < whole_size(through)


def nested(levels: int, inside: Any) -> Any:
    for _ in range(levels):
        inside = [inside]
    return inside


def innermost(value: Any) -> Any:
    while type(value) is list:
        value = value[0]
    return value


def test_containers_are_copied_to_a_depth_of_four_and_deeper_ones_are_kept():
    assert DEPTH == 4
    for levels in range(7):
        inside = array(1)
        made = recorded(nested(levels, inside))
        assert (innermost(made) is inside) is (levels > 4)
        assert innermost(made).tolist() == [1]


def test_options_hold_for_what_is_in_a_container():
    value = {"a": [numpy.float64([1.5])], "b": (numpy.array([1]), "x")}
    made = recorded(value, dtype="float16")
    assert made["a"][0].dtype == "float16" and made["b"][0].dtype == "int64" and made["b"][1] == "x"
    assert value["a"][0].dtype == "float64"


def test_a_reduce_function_is_given_a_copied_container_and_what_it_makes_is_kept_whole():
    inside = array(1, 2)
    value = {"probs": inside}

    def spoil(given: Any) -> Any:
        given["probs"] += 100
        given["more"] = 1
        return given

    made = recorded(value, reduce=spoil)
    assert made["probs"].tolist() == [101, 102] and made["more"] == 1
    assert inside.tolist() == [1, 2] and list(value) == ["probs"]
    running = array(0)
    made = recorded(value, reduce=lambda given: [running, given["probs"]])
    running += 1
    assert made[0].tolist() == [0]
    with pytest.raises(ValueError, match="read-only"):
        recorded(value, copy=False, reduce=spoil)


def forbidden(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("code of the program's was run")


class Touchy:
    """Objects that notice whatever is done to them."""

    __hash__ = __eq__ = __iter__ = __len__ = __getitem__ = __setitem__ = __call__ = forbidden
    __getattribute__ = __setattr__ = __reduce_ex__ = __copy__ = __deepcopy__ = __sizeof__ = forbidden


class TouchyDict(dict):  # type: ignore[type-arg]
    __iter__ = __getitem__ = __setitem__ = keys = values = items = copy = __len__ = __getattribute__ = forbidden


class TouchyList(list):  # type: ignore[type-arg]
    __iter__ = __getitem__ = __len__ = copy = __getattribute__ = forbidden


class TouchyTuple(Old):
    __slots__ = ()
    __iter__ = __getitem__ = __len__ = __getattribute__ = _make = _replace = forbidden


@dataclass
class TouchyOutput:
    probs: Any

    def __post_init__(self) -> None:
        if armed:
            forbidden()

    def __getattribute__(self, name: str) -> Any:
        return forbidden() if armed else object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if armed:
            forbidden()
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        return forbidden()

    @property
    def other(self) -> Any:
        return forbidden()


@dataclass
class TouchyModelOutput(OrderedDict):  # type: ignore[type-arg]
    """As transformers makes them: items that are attributes too."""

    probs: Any = None
    other: Any = None

    def __post_init__(self) -> None:
        if armed:
            forbidden()
        for name in ("probs", "other"):
            OrderedDict.__setitem__(self, name, getattr(self, name))

    def __setitem__(self, key: str, value: Any) -> None:
        forbidden()

    def __getitem__(self, key: Any) -> Any:
        return forbidden()

    def __iter__(self) -> Iterator[Any]:
        return forbidden()  # type: ignore[no-any-return]

    def __setattr__(self, name: str, value: Any) -> None:
        if armed:
            forbidden()
        object.__setattr__(self, name, value)

    def keys(self) -> Any:
        return forbidden()

    values = items = to_tuple = copy = keys


armed = False


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """From where a test says so, methods of the classes above must not be called."""
    yield
    globals()["armed"] = False


def arm() -> None:
    globals()["armed"] = True


@pytest.mark.usefixtures("forbid")
def test_nothing_of_the_programs_is_run_to_copy_a_container():
    inside = array(1, 2)
    touchy = Touchy()
    value = [TouchyTuple(inside, touchy), TouchyOutput(inside), TouchyModelOutput(inside, touchy), touchy]
    arm()
    made = recorded(value)
    weights = rough_size(value), whole_size(value)
    globals()["armed"] = False
    inside += 10
    assert [type(one) for one in made] == [type(one) for one in value]
    assert tuple.__getitem__(made[0], 0).tolist() == [1, 2]
    assert tuple.__getitem__(made[0], 1) is made[3] is touchy
    assert made[1].probs.tolist() == [1, 2]
    output = made[2]
    assert OrderedDict.__getitem__(output, "probs") is object.__getattribute__(output, "probs")
    assert object.__getattribute__(output, "probs").tolist() == [1, 2]
    assert OrderedDict.__getitem__(output, "other") is touchy
    assert list(OrderedDict.keys(output)) == ["probs", "other"]
    assert min(weights) > 16


@pytest.mark.usefixtures("forbid")
def test_what_cannot_be_opened_without_code_of_the_programs_is_kept_by_reference():
    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            return forbidden() if armed else type.__getattribute__(cls, name)

    class OfMeta(metaclass=Meta):
        pass

    @dataclass
    class Dies:
        probs: Any
        gone: Any = print

        def __del__(self) -> None:
            self.gone()

    @dataclass
    class Hides:
        probs: Any

        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            return forbidden()

    @dataclass
    class Error(Exception):
        probs: Any

    inside = array()
    dies = Dies(inside, lambda: None)
    values = [TouchyDict(a=inside), TouchyList([inside]), OfMeta(), dies, Hides(inside), Error(inside), Touchy]
    arm()
    for value in values:
        assert open_container(value) is None and recorded(value) is value and len(values_in(value)) == 0
        assert rough_size(value) < 2000
    assert all(one is other for one, other in zip(recorded(values), values, strict=True))


def test_a_key_whose_hash_is_code_of_the_programs_is_not_hashed():
    class Key:
        def __hash__(self) -> int:
            return forbidden() if armed else 1  # type: ignore[no-any-return]

        def __eq__(self, other: object) -> bool:
            return forbidden() if armed else self is other  # type: ignore[no-any-return]

    key = Key()
    inside = array()
    held, numbers, members = {key: inside}, {key: 1}, {key}
    try:
        arm()
        assert recorded(held) is held
        made = recorded(numbers), recorded(members), recorded({"a": members})
    finally:
        globals()["armed"] = False
    assert made == (numbers, members, {"a": members})
    assert made[0] is not numbers and made[1] is not members and made[2]["a"] is not members


def test_keys_of_enums_types_and_plain_objects_are_hashed():
    class Kind(enum.Enum):
        IMAGE = 1

    class Word(str, enum.Enum):
        TEXT = "text"

    for key in (Kind.IMAGE, Word.TEXT, int, object(), (1, (None, "x")), frozenset({1}), numpy.float64):
        inside = array()
        value = {key: inside}
        made = recorded(value)
        assert made[key] is not inside and made[key].tolist() == inside.tolist()


def test_an_ordered_dict_keeps_its_order():
    value = OrderedDict(a=array(1), b=array(2))
    value.move_to_end("a")
    assert list(recorded(value)) == ["b", "a"]


def test_what_was_never_set_in_a_slot_stays_unset():
    value = object.__new__(Slotted)
    object.__setattr__(value, "other", array())
    made = recorded(value)
    assert not hasattr(made, "probs") and made.other.tolist() == [1, 2]


def test_a_container_in_another_is_counted_once():
    large = ["x" * 10_000]
    assert 10_000 < whole_size([large, large]) < 12_000
    scale = Scale()
    for _ in range(3):
        scale.put([large])
    assert 10_000 < scale.bytes["cpu"] < 12_000
    assert 32_000 < whole_size(list(range(1000))) < 64_000
    assert sum(one is large for one in everything_in([large, large])) == 1


def test_small_containers_of_changeless_things_are_copied_alike_on_the_short_way():
    for value in ((), (1, "x"), [1, 2.5], {"n": 1}, {(1,): None}):
        made = SMALL[type(value)](value)
        assert made == value and type(made) is type(value) and (type(value) is tuple) is (made is value)
    for value in ((array(),), [[1]], {"n": []}, tuple(range(MOST + 1)), list(range(MOST + 1))):
        assert SMALL[type(value)](value) is None


leaves = strategies.one_of(
    strategies.none(),
    strategies.integers(),
    strategies.text(max_size=3),
    strategies.builds(lambda n: numpy.arange(n), strategies.integers(0, 3)),
)
containers = strategies.recursive(
    leaves,
    lambda inner: strategies.one_of(
        strategies.lists(inner, max_size=3),
        strategies.lists(inner, max_size=3).map(tuple),
        strategies.dictionaries(strategies.text(max_size=2), inner, max_size=3),
        strategies.builds(Output, inner),
        strategies.builds(Named, inner, inner),
        strategies.lists(inner, max_size=3).map(deque),
    ),
    max_leaves=12,
)


@hypothesis.given(containers)
@hypothesis.settings(deadline=None)
def test_a_copy_is_what_deepcopy_makes(value: Any):
    """As long as nothing is deeper than four; and nothing that can change is shared."""
    hypothesis.assume(_depth(value) <= DEPTH)
    made = taken(value, PLAIN)
    assert repr(made) == repr(copy.deepcopy(value))
    originals = {id(one) for one in everything_in(value) if _can_change(one)}
    assert not [one for one in everything_in(made) if id(one) in originals]


def _can_change(value: Any) -> bool:
    return isinstance(value, (list, dict, deque, Output, numpy.ndarray))


def _depth(value: Any) -> int:
    inner = values_in(value)
    is_one = isinstance(value, (list, tuple, dict, deque, Output))
    return is_one + max(map(_depth, inner), default=0) if is_one else 0


@pytest.mark.skipif(sys.version_info < (3, 15), reason="frozendict is of Python 3.15")
def test_a_frozendict_is_copied_with_what_is_in_it():
    value = frozendict(a=array(), b=[array()], c=1)  # type: ignore[name-defined]  # noqa: F821
    copied = recorded(value)
    value["a"][0] = value["b"][0][0] = 5.0
    assert type(copied) is type(value)
    assert list(copied) == ["a", "b", "c"]
    assert copied["a"].tolist() == copied["b"][0].tolist() == [1.0, 2.0]
    assert recorded(same := frozendict(a=1, b=(2,))) is same  # type: ignore[name-defined]  # noqa: F821
