"""What is known of modules where torch is not imported, is half imported, or has no module yet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import util
from types import ModuleType
from typing import Any

import pytest

from astcapture.record import modules

HOME = "torch.nn.modules.module"


class Home(ModuleType):
    """Stands in for torch's home of `nn.Module`: the class, and the hooks for registrations."""

    def __init__(self) -> None:
        super().__init__(HOME)
        self.hooks: dict[str, list[Callable[..., None]]] = {"module": [], "parameter": [], "buffer": []}

        class Module:
            def __init__(self) -> None:
                self._modules: dict[str, Any] = {}

            def _call_impl(self, value: Any) -> Any:
                forward_call = self.forward  # type: ignore[attr-defined]
                return forward_call(value)

            __call__ = _call_impl

        self.Module = Module
        for kind in self.hooks:
            setattr(self, f"register_module_{kind}_registration_hook", self._registers(kind))

    def _registers(self, kind: str) -> Callable[[Callable[..., None]], Any]:
        def register(hook: Callable[..., None]) -> Any:
            hooks = self.hooks[kind]
            hooks.append(hook)

            class Handle:
                def remove(self) -> None:
                    hooks.remove(hook)

            return Handle()

        return register

    @property
    def waiting(self) -> list[int]:
        return [len(hooks) for hooks in self.hooks.values()]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    home = Home()
    monkeypatch.setitem(sys.modules, HOME, home)
    assert modules.find_torch()
    yield home
    modules.stop_waiting()
    monkeypatch.undo()
    modules.find_torch()


def layer_of(owner: Any) -> str | None:
    """As the recorder asks for the first: two frames below the function that is captured."""
    return modules.first_layer(owner)


def test_before_torch_is_looked_for_nothing_is_a_module_and_there_is_no_layer() -> None:
    spec = util.spec_from_file_location("modules_anew", modules.__file__)
    assert spec is not None and spec.loader is not None
    anew = util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert not anew.is_module(anew)
    assert anew.live_modules() == []
    assert anew.first_layer(None) is None
    assert anew.layer(None) is None


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


def test_without_a_module_hooks_for_each_kind_of_registration_wait_and_the_first_takes_them_off(home: Home) -> None:
    for kind in ("module", "parameter", "buffer"):
        told: list[str] = []
        modules.when_one_exists(lambda told=told, kind=kind: told.append(kind))
        assert home.waiting == [1, 1, 1]
        assert told == []
        (hook,) = home.hooks[kind]
        hook(object(), "name", object())
        assert (told, home.waiting) == ([kind], [0, 0, 0])


def test_asked_twice_it_waits_once_and_for_the_last_that_asked(home: Home) -> None:
    told: list[int] = []
    for number in (1, 2):
        modules.when_one_exists(lambda number=number: told.append(number))
    assert home.waiting == [1, 1, 1]
    home.hooks["parameter"][0](object(), "name", object())
    assert (told, home.waiting) == ([2], [0, 0, 0])


def test_nobody_is_called_once_it_is_not_waited_for_any_more(home: Home) -> None:
    told: list[int] = []
    modules.when_one_exists(lambda: told.append(1))
    modules.stop_waiting()
    assert (told, home.waiting) == ([], [0, 0, 0])
    modules.stop_waiting()


def test_where_there_is_a_module_nothing_waits(home: Home) -> None:
    one = home.Module()
    told: list[int] = []
    modules.when_one_exists(lambda: told.append(1))
    assert (told, home.waiting) == ([1], [0, 0, 0])
    assert one is not None


def test_inside_a_module_that_runs_nothing_waits(home: Home) -> None:
    # A class of its own in place of torch's: the module is found by its call, and by no list of objects.
    told: list[int] = []

    class Running:
        _call_impl = home.Module._call_impl

        def forward(self, value: Any) -> None:
            modules.when_one_exists(lambda: told.append(value))

    Running()._call_impl(5)
    assert (told, home.waiting) == ([5], [0, 0, 0])


@pytest.mark.parametrize("kind", ["module", "parameter", "buffer"])
def test_a_torch_without_one_of_the_hooks_is_not_waited_for(home: Home, kind: str) -> None:
    delattr(home, f"register_module_{kind}_registration_hook")
    told: list[int] = []
    modules.when_one_exists(lambda: told.append(1))
    assert (told, home.waiting) == ([1], [0, 0, 0])


def test_as_long_as_no_module_runs_the_first_layer_is_none_and_the_hooks_stay(home: Home) -> None:
    told: list[int] = []
    modules.when_one_exists(lambda: told.append(1))
    assert layer_of(None) is None
    assert (told, home.waiting) == ([], [1, 1, 1])


def test_the_first_module_that_is_found_running_gives_its_layer_and_ends_the_wait(home: Home) -> None:
    # One that was unpickled: it has registered nothing.
    told: list[int] = []
    found: list[str | None] = []

    class Leaf(home.Module):
        def forward(self, value: Any) -> Any:
            found.append(layer_of(self))
            found.append(layer_of(None))
            return value

    class Method(home.Module):
        def captured(self) -> None:
            found.append(layer_of(self))

    class Model(home.Module):
        def forward(self, value: Any) -> Any:
            self._modules["method"].captured()
            return self._modules["leaf"](value)

    modules.when_one_exists(lambda: told.append(1))
    model = Model()
    model._modules["leaf"] = Leaf()
    model._modules["method"] = Method()
    model(0)
    assert (found, home.waiting) == (["method", "leaf", "leaf"], [0, 0, 0])
    assert told[:1] == [1]
