"""``effects``: how a number changes with each of many edits, and ``heads``: one edit for each head of each layer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, overload

from astcapture.edits.changes import zero
from astcapture.edits.ready_made import ReadyMade
from astcapture.edits.receipts import Receipt
from astcapture.errors import EditError
from astcapture.values.html import ROWS, Table, only_looks

if TYPE_CHECKING:
    from astcapture.imports.edit import Edit

#: One edit, or several that apply together.
Together = Any
#: The slices of an edit that can be the columns of a picture; rows are tokens.
_COLUMNS = {"heads": "head", "tokens": "token", "rows": "token"}


@dataclass(frozen=True)
class Effect:
    """What one edit, or several that were applied together, did to the number.

    Attributes:
        name: how the edit was written, or the name it was given.
        value: the number with the edit.
        change: the number with the edit, minus the plain one.
        layer: the layer that was edited; None if it was none or several.
        head, token: the head or the position that was edited; None if it was none or several.
        receipts: of each edit by layer, how often it fired and whether it changed anything.
    """

    name: str
    value: float
    change: float
    layer: str | None = None
    head: int | None = None
    token: int | None = None
    receipts: Sequence[Mapping[str | None, Receipt]] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it: NaN and infinite numbers as null."""
        receipts = [
            {
                str(layer): {"fired": one.fired, "changed": one.changed, "shape": one.shape, "dtype": one.dtype}
                for layer, one in by_layer.items()
            }
            for by_layer in self.receipts
        ]
        return {
            "name": self.name,
            "layer": self.layer,
            "head": self.head,
            "token": self.token,
            "value": _finite(self.value),
            "change": _finite(self.change),
            "receipts": receipts,
        }


class Effects(Sequence[Effect]):
    """How a number changed with each edit, in the order of the edits.

    Attributes:
        plain: the number without any of them.
        metric: what the number is called.
    """

    def __init__(self, effects: Sequence[Effect], plain: float, metric: str) -> None:
        self._effects = tuple(effects)
        self.plain = plain
        self.metric = metric

    def __len__(self) -> int:
        return len(self._effects)

    def __iter__(self) -> Iterator[Effect]:
        return iter(self._effects)

    @overload
    def __getitem__(self, index: int) -> Effect: ...
    @overload
    def __getitem__(self, index: slice) -> Effects: ...
    def __getitem__(self, index: int | slice) -> Any:
        found = self._effects[index]
        return Effects(found, self.plain, self.metric) if isinstance(found, tuple) else found

    @property
    def layers(self) -> list[str]:
        """The layers, in order of first appearance: the rows of `array`."""
        return list(dict.fromkeys(one.layer for one in self if one.layer is not None))

    @property
    def column(self) -> str:
        """What the columns of `array` are: "head" or "token".

        Raises:
            EditError: an effect is not that of one head, or of one token, on one layer.
        """
        if self and all(one.layer is not None for one in self):
            for column, other in (("head", "token"), ("token", "head")):
                numbers = [getattr(one, column) for one in self]
                others = {getattr(one, other) for one in self}
                if None not in numbers and len(others) == 1:
                    return column
        raise EditError(
            f"{self!r}: not one head or token of one layer each, so there is no grid of them: read .change of each"
        )

    @property
    def numbers(self) -> list[int]:
        """The heads or tokens, in order: the columns of `array`."""
        column = self.column
        return sorted({getattr(one, column) for one in self})

    def array(self) -> Any:
        """The changes as a NumPy array of float64, (layers, heads), or (layers, tokens).

        NaN where no edit was made. The rows are `layers`, the columns `numbers`.

        Raises:
            EditError: an effect is not that of one head, or of one token, on one layer; or two are of the same.
        """
        import numpy

        column, layers, numbers = self.column, self.layers, self.numbers
        found = numpy.full((len(layers), len(numbers)), numpy.nan)
        filled: set[tuple[int, int]] = set()
        for one in self:
            place = layers.index(cast(str, one.layer)), numbers.index(getattr(one, column))
            if place in filled:
                raise EditError(f"{self!r}: two edits of {column} {numbers[place[1]]} of layer {one.layer!r}")
            filled.add(place)
            found[place] = one.change
        return found

    def to_json(self) -> str:
        """All of it as JSON text."""
        return json.dumps(
            {"metric": self.metric, "plain": _finite(self.plain), "effects": [one.to_dict() for one in self]}
        )

    def __repr__(self) -> str:
        edits = f"{len(self)} edit{'' if len(self) == 1 else 's'}"
        return f"<Effects on {self.metric}: {self.plain:.4g} plain, {edits}>"

    @only_looks
    def _repr_html_(self) -> str:
        rows = [(one.name, f"{one.value:.4g}", f"{one.change:+.4g}", _fired(one)) for one in self._effects[:ROWS]]
        return Table(
            ("edit", self.metric, "change", "fired"),
            rows,
            f"Effects on {self.metric}: {self.plain:.4g} without an edit",
            frozenset({self.metric, "change", "fired"}),
            count=len(self),
            all_of_it="[*effects] is all of them",
        ).html()


def effects(
    run: Callable[[], Any],
    edits: Iterable[Together] | Mapping[str, Together],
    metric: Callable[[Any], Any],
    *,
    name: str | None = None,
) -> Effects:
    """Run something once plainly and once for each edit, and compare a number.

    Args:
        run: what is run, such as ``lambda: model(batch)``. It must do the same each time: no dropout, no other batch.
        edits: an `Edit` each, not installed, as `heads` makes them; a list of several `Edit` applies them together.
            A mapping names them.
        metric: makes a number of what ``run`` returns, such as a loss.
        name: what the number is called; the name of the function if left out.

    Raises:
        EditError: an edit is installed already, or did not fire; nothing else is run then.

    >>> import textwrap
    >>> import astcapture
    >>> louder = astcapture.Edit("textwrap:dedent=@return", lambda text: text + "!")
    >>> found = astcapture.effects(lambda: textwrap.dedent("  hello"), {"louder": louder}, len)
    >>> found.plain, found[0].name, found[0].value, found[0].change
    (5.0, 'louder', 6.0, 1.0)
    """
    from astcapture.imports.edit import Edit

    groups: list[tuple[str, list[Edit]]] = []
    named = edits.items() if isinstance(edits, Mapping) else (("", one) for one in edits)
    for label, given in named:
        together: list[Any] = [*given] if isinstance(given, (list, tuple)) else [given]
        for one in together:
            if not isinstance(one, Edit):
                raise EditError(
                    f'effects: {one!r} is no Edit: write astcapture.Edit("mymodel:f=attn", zero(heads=[3]))'
                )
            if one.is_installed:
                raise EditError(f"effects: {one.text} is installed already: make it with astcapture.Edit, not edit")
        groups.append((label or " and ".join(one.text for one in together), together))
    if not groups:
        raise EditError("effects: there are no edits")
    called = name or getattr(metric, "__name__", "metric").strip("<>")
    called = "metric" if called == "lambda" else called
    with ExitStack() as held:
        # While the functions stay rewritten, an edit is installed in a tenth of the time.
        for target in dict.fromkeys(one.target for _, group in groups for one in group):
            held.enter_context(Edit(target, _unchanged, strict=False))
        plain = _number(metric(run()), called)
        found = []
        for label, group in groups:
            with ExitStack() as installed:
                for one in group:
                    installed.enter_context(one)
                value = _number(metric(run()), called)
            found.append(_effect(label, group, value, plain))
    return Effects(found, plain, called)


def heads(
    target: Any,
    layers: Any,
    n: int,
    change: Callable[..., Any] = zero,
) -> list[Edit]:
    """One edit for each head of each layer, layer by layer, for `effects`.

    Args:
        target: as for `astcapture.edit`.
        layers: how many layers there are, or several: numbers in order of appearance, or paths and patterns that
            each mean one layer.
        n: how many heads a layer has.
        change: makes the change of a head, called as ``change(heads=[3])``: `zero`, `mean`, or for instance
            ``functools.partial(scale, 0.5)``.

    Raises:
        EditError: the target is not of the form, or there are no layers or heads.

    >>> [edit.text for edit in heads("mymodel:Attention.forward=attn", 2, 1)]  # doctest: +NORMALIZE_WHITESPACE
    ["edit('mymodel:Attention.forward=attn', zero(heads=[0]), layer=0)",
     "edit('mymodel:Attention.forward=attn', zero(heads=[0]), layer=1)"]
    """
    from astcapture.imports.edit import Edit

    listed = [*range(layers)] if isinstance(layers, int) else [layers] if isinstance(layers, str) else [*layers]
    if not listed or not isinstance(n, int) or n < 1:
        raise EditError(f"heads(layers={layers!r}, n={n!r}): there is no head to edit")
    return [Edit(target, change(heads=[head]), layer=layer) for layer in listed for head in range(n)]


def _effect(label: str, together: Sequence[Edit], value: float, plain: float) -> Effect:
    receipts = [dict(one.receipts) for one in together]
    layers = {layer for by_layer in receipts for layer, one in by_layer.items() if one.fired}
    places = {_place(one.change) for one in together}
    head, token = places.pop() if len(places) == 1 else (None, None)
    layer = layers.pop() if len(layers) == 1 else None
    return Effect(label, value, value - plain, layer, head, token, receipts)


def _place(change: Any) -> tuple[int | None, int | None]:
    """The head and the token that a ready-made change edits, if each is one."""
    found: dict[str, int] = {}
    for name, number in change.slices.single.items() if isinstance(change, ReadyMade) else ():
        if name in _COLUMNS:
            found[_COLUMNS[name]] = number
    return found.get("head"), found.get("token")


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise EditError(f"effects: {name} returned {type(value).__name__}, and not a number") from None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _fired(effect: Effect) -> str:
    return str(sum(one.fired for by_layer in effect.receipts for one in by_layer.values()))


def _unchanged(value: Any) -> Any:
    return value
