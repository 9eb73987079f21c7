"""What is known of modules and their places where torch is not imported, is half imported, or has no module yet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import util
from types import ModuleType
from typing import Any

import pytest

from astcapture.record.torch import modules, places

HOME = "torch.nn.modules.module"


class Home(ModuleType):
    """Stands in for torch's home of `nn.Module`: the class, and the hook for registrations."""

    def __init__(self) -> None:
        super().__init__(HOME)
        self.hooks: list[Callable[..., None]] = []

        class Module:
            def __init__(self) -> None:
                self._modules: dict[str, Any] = {}

            def _call_impl(self, value: Any) -> Any:
                forward_call = self.forward  # type: ignore[attr-defined]
                return forward_call(value)

            __call__ = _call_impl

        self.Module = Module

    def register_module_module_registration_hook(self, hook: Callable[..., None]) -> Any:
        self.hooks.append(hook)

        class Handle:
            def remove(handle) -> None:
                self.hooks.remove(hook)

        return Handle()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    home = Home()
    places.forget_torch()
    monkeypatch.setitem(sys.modules, HOME, home)
    assert modules.find_torch()
    yield home
    places.forget_torch()
    monkeypatch.undo()
    modules.find_torch()


def layer_of(owner: Any) -> str | None:
    """As the recorder asks: two frames below the function that is captured."""
    where = places.where(owner)
    return None if where is None else where.layer


def test_before_torch_is_looked_for_nothing_is_a_module_and_none_runs() -> None:
    spec = util.spec_from_file_location("modules_anew", modules.__file__)
    assert spec is not None and spec.loader is not None
    anew = util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert not anew.is_module(anew)
    assert anew.live_modules() == []
    assert anew.nearest(sys._getframe()) is None
    assert anew.running(sys._getframe()) == []


HALF_IMPORTED = {
    "not imported": None,
    "without the class yet": ModuleType(HOME),
    "with a class that is called otherwise": ModuleType(HOME),
    "with a call in C": ModuleType(HOME),
}
HALF_IMPORTED["with a class that is called otherwise"].Module = type("Module", (), {})  # type: ignore[union-attr]
HALF_IMPORTED["with a call in C"].Module = type("Module", (), {"_call_impl": len})  # type: ignore[union-attr]


@pytest.mark.parametrize("how", HALF_IMPORTED)
def test_torch_is_not_found_where_it_is(how: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    if HALF_IMPORTED[how] is None:
        monkeypatch.delitem(sys.modules, HOME)
    else:
        monkeypatch.setitem(sys.modules, HOME, HALF_IMPORTED[how])
    assert modules.find_torch() is False
    if not hasattr(HALF_IMPORTED[how], "Module"):
        assert not modules.is_module(home.Module())
        assert modules.live_modules() == []
    monkeypatch.setitem(sys.modules, HOME, home)
    assert modules.find_torch() is True
    assert modules.is_module(home.Module())


def test_what_is_a_module_is_said_by_its_type_alone(home: Home) -> None:
    class Liar:
        @property
        def __class__(self) -> Any:
            raise AssertionError("asked for its class")

    class Derived(home.Module):
        @property
        def __class__(self) -> Any:
            raise AssertionError("asked for its class")

    assert modules.is_module(Derived())
    assert not modules.is_module(Liar())
    assert not modules.is_module(Derived)
    assert not modules.is_module(None)


def test_all_modules_of_the_process_are_found(home: Home) -> None:
    assert modules.live_modules() == []
    one, other = home.Module(), type("Derived", (home.Module,), {})()
    assert {id(each) for each in modules.live_modules()} == {id(one), id(other)}


def recorded(owner: Any) -> str | None:
    """Stands where the recorder does."""
    return layer_of(owner)


def test_where_no_module_runs_there_is_no_place_and_nothing_watches_torch(home: Home) -> None:
    assert recorded(None) is None
    assert recorded("no module") is None
    assert home.hooks == []


def test_the_first_module_that_records_has_its_place_and_one_hook_watches_until_torch_is_forgotten(home: Home) -> None:
    found: list[str | None] = []

    class Leaf(home.Module):
        def forward(self, value: Any) -> Any:
            found.append(recorded(self))
            found.append(recorded(None))
            return value

    class Method(home.Module):
        def captured(self) -> None:
            found.append(recorded(self))

    class Model(home.Module):
        def forward(self, value: Any) -> Any:
            self._modules["method"].captured()
            return self._modules["leaf"](value)

    # As one that was unpickled: it has registered nothing.
    model = Model()
    model._modules["leaf"] = Leaf()
    model._modules["method"] = Method()
    for _ in range(2):
        model(0)
        assert (found, len(home.hooks)) == (["method", "leaf", "leaf"], 1)
        found.clear()
    places.forget_torch()
    assert home.hooks == []


def test_in_a_torch_without_the_hook_places_are_found_all_the_same(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Home, "register_module_module_registration_hook")
    model, leaf = home.Module(), home.Module()
    model._modules["leaf"] = leaf
    assert [recorded(leaf), recorded(model)] == ["leaf", ""]
    later = home.Module()
    model._modules["later"] = later
    assert recorded(later) == "later"
    places.forget_torch()
