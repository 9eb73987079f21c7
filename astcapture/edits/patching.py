"""``patch``: puts in what another run had at the same place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astcapture.edits.held import Held, in_words, is_tensor
from astcapture.edits.ready_made import ReadyMade
from astcapture.edits.slices import Chosen, Slices
from astcapture.errors import EditError

#: The values of one layer and label: by call, each with its line.
_Calls = dict[int | None, list[tuple[int, Any]]]
#: As many layers, labels or calls a message lists.
_LISTED = 5


class _Patch(ReadyMade):
    def __init__(self, source: Any, slices: Slices) -> None:
        self._take(source)
        super().__init__("patch", slices)

    def _take(self, source: Any) -> None:
        self.source = source
        self.held: Held | None = None
        self.table: dict[tuple[str | None, str | None], _Calls] = {}
        if is_tensor(source) or (hasattr(source, "dtype") and hasattr(source, "__array__")):
            self.held = Held(source, "patch: source")
        elif hasattr(source, "select"):
            for record in source.select().records:
                self._note(record, record.layer)
        elif isinstance(source, Mapping):
            for layer, given in source.items():
                if hasattr(given, "records"):
                    for record in given.records:
                        self._note(record, layer)
                else:
                    self.table[layer, None] = {None: [(0, given)]}
        else:
            raise EditError(
                f"patch({type(source).__name__}): pass a run, the cache, Records, a mapping from layer to value, or a "
                "tensor"
            )
        if self.held is None and not self.table:
            raise EditError("patch: there is no value in what was given")
        labels = {label for _, label in self.table}
        if len(labels) == 1:
            # With a single label it need not be the same: what a function returns has none.
            self.table = {(layer, None): calls for (layer, _), calls in self.table.items()}
        self.has_labels = len(labels) > 1
        self.needs_call = any(len(calls) > 1 for calls in self.table.values())

    def _note(self, record: Any, layer: str | None) -> None:
        calls = self.table.setdefault((layer, record.label), {})
        calls.setdefault(record.call, []).append((record.lineno, record.value))

    # Without a default, so that an edit passes the site.
    def __call__(self, value: Any, site: Any) -> Any:  # type: ignore[override]
        return super().__call__(value, site)

    def changed(self, part: Any, value: Any, site: Any) -> Any:
        found = self._found(site) if self.held is None else self.held.operand(value)
        if not hasattr(found, "shape") or tuple(found.shape) != tuple(value.shape):
            has = in_words(found) if hasattr(found, "shape") else type(found).__name__
            raise EditError(
                f"{self.describe()}: the value of the other run is {has}, and {_where(site)} has shape "
                f"{tuple(value.shape)}"
            )
        index = self.slices.index(value.shape)
        if is_tensor(value) and not is_tensor(found):
            found = _as_tensor(found)
        elif is_tensor(found) and not is_tensor(value):
            found = found.detach().cpu().numpy()
        new = found if index is None else found[index]
        return new.to(value.device) if is_tensor(value) else new

    def _found(self, site: Any) -> Any:
        if site is None:
            raise EditError(f"{self.describe()}: needs the site, to find the value of the same layer")
        calls = self.table.get((site.layer, site.label if self.has_labels else None))
        if calls is None:
            raise EditError(f"{self.describe()}: the other run has no value of {_where(site)}; it has {self._has()}")
        if len(calls) == 1 and (site.call is None or None in calls):
            (there,) = calls.values()
        elif site.call in calls:
            there = calls[site.call]
        else:
            missing = "in compiled code the call is not known" if site.call is None else f"none of call {site.call}"
            listed = _some(sorted(call for call in calls if call is not None))
            raise EditError(
                f"{self.describe()}: {missing}, and the other run has calls {listed} of {_where(site)}: "
                "select one, patch(records.select(call=0))"
            )
        same = [one for line, one in there if line == site.lineno] if len(there) > 1 else [there[0][1]]
        if len(same) != 1:
            lines = _some(sorted({line for line, _ in there}))
            raise EditError(
                f"{self.describe()}: the other run has {len(there)} values of {_where(site)} in a call, of lines "
                f"{lines}: select one, patch(records.select(lineno=...))"
            )
        return same[0]

    def _has(self) -> str:
        layers = list(dict.fromkeys(layer for layer, _ in self.table))
        labels = list(dict.fromkeys(label for _, label in self.table if label is not None))
        kept = f"layers {_some(layers)}"
        return f"{kept} with labels {_some(labels)}" if labels else kept

    @property
    def value(self) -> Any:
        return self.source if self.held is None else self.held.value

    @value.setter
    def value(self, new: Any) -> None:
        if self.held is not None and is_tensor(new):
            self.held.value = new
        else:
            self._take(new)

    def arguments(self) -> str:
        if self.held is not None:
            return str(self.held)
        count = sum(len(there) for calls in self.table.values() for there in calls.values())
        layers = len({layer for layer, _ in self.table})
        return f"<{count} value{'' if count == 1 else 's'} of {layers} layer{'' if layers == 1 else 's'}>"


def patch(
    source: Any,
    *,
    batch: Chosen = None,
    heads: Chosen = None,
    rows: Chosen = None,
    columns: Chosen = None,
    tokens: Chosen = None,
    axes: str | None = None,
) -> ReadyMade:
    """Put in what another run had at the same layer, call and label.

    The values are those that ``source`` contains now; later captures are not used.

    Args:
        source: a loaded run, the cache, `Records`, a mapping from layer to value, or one tensor for every place. Where
            it has a single label or call, that is taken for each. Values are converted to the dtype and device.
        batch, heads, rows, columns, tokens, axes: as for `zero`; these positions alone are put in.

    Raises:
        EditError: there is no value in ``source``; as the value is edited, that it has none of that layer, label and
            call, or one of another shape.

    >>> import torch
    >>> patch(torch.ones(2, 3), rows=1)(torch.zeros(2, 3), None)
    tensor([[0., 0., 0.],
            [1., 1., 1.]])
    """
    return _Patch(source, Slices(axes, batch=batch, heads=heads, rows=rows, columns=columns, tokens=tokens))


def _where(site: Any) -> str:
    if site is None:
        return "the value"
    return f"{site.label!r} on layer {site.layer!r}"


def _some(listed: list[Any]) -> str:
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(map(repr, listed[:_LISTED])) + more


def _as_tensor(array: Any) -> Any:
    import torch

    return torch.as_tensor(array)
