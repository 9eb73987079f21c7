"""``astcapture.attention``: the attention maps of one model, in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any
from weakref import ref

from astcapture.errors import CaptureError
from astcapture.imports.hook import Hook
from astcapture.imports.model_targets import attention_targets, not_captured
from astcapture.record import scope
from astcapture.record.limit import read_limit
from astcapture.record.options import Conversions, Place, read_conversions
from astcapture.record.policy import OneModel
from astcapture.record.torch import modules
from astcapture.record.torch.places import changes, class_name, every_place, unwrapped
from astcapture.targets.target import Target
from astcapture.values.cache import Cache, cache, drain
from astcapture.values.of_model import ModelCache, ModelRecords
from astcapture.values.record import Record
from astcapture.values.records import Records
from astcapture.warn import warn_at


class attention:
    """Capture the attention maps of one model: ``with astcapture.attention(model) as maps: model(x)``.

    It finds the recipes that know the model's attention and installs them for this model alone, whenever it was
    built. Where functions of the model are marked with ``@capture``, it takes these too.

    As a context manager it gives `Records` with one map for each layer and execution, in call order. They grow while
    the model runs in the block, and stay as they are after it. The block holds for the thread or task that enters it,
    as ``astcapture.recording`` does. These values are in `maps` and not in ``astcapture.cache``, unless somebody else
    captures them too.

    `install` switches it on until `uninstall`: the values go to ``astcapture.cache`` or to a store, and the hook's
    `maps` are those of this model among them.

    Args:
        model: an ``nn.Module``; wrapped ones (``DistributedDataParallel``, ``torch.compile``) and parts of a larger
            model are taken as well.
        layers: take these layers alone, ``"blocks.11.*"`` or a list of such patterns.
        copy, device, dtype, reduce, grad, store, limit, strict: as `astcapture.install` takes them. With a store the
            values of the block go there and to ``astcapture.cache``.

    Raises:
        CaptureError: no recipe knows an attention in this model, and nothing in it is marked. The message lists its
            functions with the locals that look like maps.

    >>> import torch
    >>> model = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = torch.randn(1, 5, 8)
    >>> with attention(model) as maps:
    ...     _ = model(x, x, x, need_weights=False)
    >>> maps[0].shape  # batch, heads, queries, keys
    torch.Size([1, 2, 5, 5])
    """

    def __init__(
        self,
        model: Any,
        *,
        layers: str | Sequence[str] | Mapping[str, str | Sequence[str] | None] | None = None,
        copy: bool | Mapping[str, bool] = True,
        device: Any = None,
        dtype: Any = None,
        reduce: Callable[..., Any] | str | Mapping[str, Callable[..., Any] | str | None] | None = None,
        grad: bool | Mapping[str, bool] = False,
        store: str | os.PathLike[str] | None = None,
        limit: int | str | None = "auto",
        strict: bool = False,
    ) -> None:
        modules.find_torch()
        self._targets = attention_targets(model)
        others = not_captured(model, self._targets)
        if others:
            warn_at(
                "attention() leaves out functions of this model that bind what looks like a map: put @capture on them "
                "to capture them too\n    " + "\n    ".join(others),
                2,
            )
        self._kept = model
        self._model = _Model(model, self._targets)
        self._conversions = read_conversions(copy, device, dtype, reduce, grad, layers)
        self._limit, self._strict, self._store = read_limit(limit), strict, store
        self._open: _Block | None = None

    def install(self) -> AttentionHook:
        """Switch it on until the hook is uninstalled; its values go to ``astcapture.cache``, or to the store."""
        return self._hook(in_block=False)

    def _hook(self, in_block: bool) -> AttentionHook:
        one_model = OneModel(self._model.holds, in_block)
        hook = AttentionHook(
            self._targets, self._strict, self._conversions, self._limit, self._store, one_model, self._model
        )
        hook._install()
        return hook

    def __enter__(self) -> Records:
        if self._open is not None:
            raise CaptureError(
                f"this attention({self._model.name}) is in a `with` block already: make another one for each block"
            )
        hook = self._hook(in_block=self._store is None)
        try:
            self._open = _Block(hook, self._model, self._conversions)
        except BaseException:
            hook.uninstall()
            raise
        return self._open.maps

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        block, self._open = self._open, None
        if block is None:
            return
        reason = block.close()
        if reason is not None and kind is None:
            warn_at(f"attention({self._model.name}): no map was captured: {reason}", 2)

    def __repr__(self) -> str:
        functions = dict.fromkeys(f"{target.module}:{target.qualname}" for target in self._targets)
        return f"<attention of {self._model.name}: {', '.join(functions)}>"


class AttentionHook(Hook):
    """The hook of an installed `attention`; see `Hook`."""

    def __init__(
        self,
        targets: tuple[Target, ...],
        strict: bool,
        conversions: Conversions,
        limit: int | str | None,
        store: str | os.PathLike[str] | None,
        one_model: OneModel,
        model: _Model,
    ) -> None:
        super().__init__(targets, strict, conversions, limit, store, one_model)
        self._maps = _growing(cache, model)

    @property
    def maps(self) -> Records:
        """The values of this model in ``astcapture.cache``, in call order."""
        return self._maps


class _Block:
    """One `with` block: the hook, the place for the values, and the records that are handed out."""

    def __init__(self, hook: AttentionHook, model: _Model, conversions: Conversions) -> None:
        self._hook, self._model = hook, model
        self._scope = None
        self._sink: Cache = cache
        block = hook.one_model
        if block is not None and block.in_block:
            around = scope.holding()

            def takes(module: str, function: str, label: str, where: Place | None) -> bool:
                own = model.takes(module, function, label, where)
                return own and conversions.of(module, function, label).takes(where)

            self._sink = ModelCache(takes, block, None if around is None else around.sink)
            self._scope = scope.enter(sink=self._sink)
        # With a store the values go to the cache, which may hold some of this model already.
        self.maps = _growing(self._sink, model, before=0 if self._scope else len(model.records_in(cache)))

    def close(self) -> str | None:
        """Keep what was captured, and give back what was exchanged; why nothing was, if so."""
        drain()
        reason = None if self.maps else _why_empty(self._sink, self._model)
        self.maps.close(reason)
        if self._scope is not None:
            scope.leave(self._scope)
        self._hook.uninstall()
        return reason


class _Model:
    """A model: its name, and which values are its own. It is not kept alive; what is gone records nothing more.

    Its places are looked up again when a value comes from another place and modules have moved since.
    """

    def __init__(self, model: Any, targets: tuple[Target, ...]) -> None:
        self.name = class_name(type(unwrapped(model)))
        self._reference = ref(model)
        self._targets = targets
        self._places: set[tuple[str, str]] = set()
        self._changes = -1
        self._look()

    def _look(self) -> None:
        model = self._reference()
        if model is not None:
            self._places |= every_place(model)
            self._changes = changes()

    def holds(self, where: Place | None) -> bool:
        """Whether a value of that layer of that model is of this one; outside any layer nobody can tell, and it is."""
        if self._reference() is None:
            return False  # another model may have its name by now
        if where is None or where in self._places:
            return True
        if self._changes == changes():
            return False
        self._look()
        return where in self._places

    def takes(self, module: str, function: str, label: str, where: Place | None) -> bool:
        """Whether a value is a map of this model."""
        return self.names(module, function, label) and self.holds(where)

    def is_of(self, record: Record) -> bool:
        """Whether a value that has been recorded is one of this model, which may be gone by now."""
        where = None if record.layer is None or record.model is None else (record.layer, record.model)
        known = where is None or where in self._places or self.holds(where)
        return known and self.names(record.module, record.function, record.label)

    def records_in(self, found: Cache) -> list[Record]:
        return [record for record in found.select().records if self.is_of(record)]

    def names(self, module: str, function: str, label: str) -> bool:
        """Whether what is captured for this model includes a label of a function."""
        return any(
            target.means(module, function)
            and (not target.captures or any(label == one.label for one in target.captures))
            for target in self._targets
        )


def _growing(found: Cache, model: _Model, *, before: int = 0) -> ModelRecords:
    """The records of a model in a cache, after the first `before`, as they come."""
    return ModelRecords(
        lambda: model.records_in(found)[before:], lambda label: None if label else _why_empty(found, model)
    )


def _why_empty(sink: Cache, model: _Model) -> str | None:
    """Why no map of a model was captured: the reasons of its functions, each once."""
    keys = [
        key
        for key, labels in sink.notes().declared.items()
        if any(model.names(key.partition(":")[0], key.partition(":")[2], label) for label in labels)
    ]
    reasons = [found for key in keys if (found := sink.why_nothing(key)) is not None]
    of_layers = [one for found in reasons for one in found.split("; ") if one.startswith("layers= ")]
    return "; ".join(dict.fromkeys(of_layers or reasons)) or None
