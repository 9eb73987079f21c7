"""``astcapture.edit``: change a value inside a function, as if the line were written by hand."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from types import FunctionType, TracebackType
from typing import Any

from astcapture.edits import READY_MADE, traced
from astcapture.edits.active import Active, Change
from astcapture.edits.filters import check
from astcapture.edits.receipts import Receipt
from astcapture.edits.registry import registry
from astcapture.errors import EditError
from astcapture.imports import report
from astcapture.imports.hook import Hook, finder
from astcapture.imports.objects import as_texts
from astcapture.imports.session import FIRST_PROCESS
from astcapture.targets.edit_target import parse_edit_target
from astcapture.targets.target import Target
from astcapture.values.cache import drain
from astcapture.warn import tell, warn_at


class Edit(Hook):
    """An edit of one value; `install` switches it on, and so does a ``with`` block.

    Args, and what it raises: see `edit`, which installs it at once.

    Attributes:
        target: the target, as text.
        change, layer, call: what it was made with.
    """

    def __init__(
        self, target: Any, change: Change, *, layer: Any = None, call: Any = None, strict: bool = True
    ) -> None:
        text = _one_text(target)
        if not callable(change):
            raise EditError(f"edit({text!r}): the change is a function of the value, not {change!r}: write zero()")
        for name, wanted in (("layer", layer), ("call", call)):
            if wanted is not None:
                check(name, wanted)
        if getattr(change, "__module__", "").startswith("astcapture.edits.") and _name_of(change) in READY_MADE:
            name = _name_of(change)
            raise EditError(f"edit({text!r}, {name}): {name} makes a change: call it, {name}()")
        parsed = parse_edit_target(text)
        super().__init__((parsed,), strict=False)
        self.target, self.change, self.layer, self.call = text, change, layer, call
        self._raises = strict
        described = getattr(change, "describe", None)
        said = described() if described is not None else getattr(change, "__name__", type(change).__name__)
        options = "".join(f", {name}={one!r}" for name, one in (("layer", layer), ("call", call)) if one is not None)
        self.text = f"edit({text!r}, {said}{options})"
        self._active = Active(self.text, self._meant, change, layer, call)

    def install(self) -> Edit:
        """Switch it on; the same edit. Doing so twice is an error.

        Raises:
            EditError: it is installed already.
            CaptureError: a module that is imported already has no such function, or the function no such value.
        """
        if self._installed:
            raise EditError(f"{self.text} is installed already")
        self._active = Active(self.text, self._meant, self.change, self._active.layer, self._active.call)
        self._install()
        return self

    def in_a_line(self) -> str:
        """What it did since it was installed, for people."""
        receipts = self.receipts
        fired = sum(one.fired for one in receipts.values())
        times = "once" if fired == 1 else f"{fired} times"
        on = f" on {len(receipts)} layer{'s' * (len(receipts) != 1)}" if any(receipts) else ""
        changed = "" if any(one.changed for one in receipts.values()) or not fired else " and changed nothing"
        return f"{self.text}: fired {times}{on}{changed}" if fired else f"{self.text}: did not fire"

    def why_unnoticed(self) -> list[str]:
        """Why the program has not noticed it up to now; empty if it has."""
        self._active.settle()
        if report.failed_to_import(self.targets[0], finder):
            return []  # the error of that import has told
        return self._active.errors(registry.was_found(self._active))

    @property
    def never_came(self) -> bool:
        """Whether this process has not come to the point of the edit."""
        return not self._active.layers and self._active.problem is None

    @property
    def _edited(self) -> Sequence[Target]:
        return self._meant

    def _begin(self) -> None:
        traced.give_counterparts()
        drain()  # what was recorded up to now was not edited
        registry.add(self._active)

    def _end(self) -> None:
        drain()  # what was recorded up to now was
        registry.remove(self._active)

    def _also_means(self) -> None:
        registry.refresh()

    def uninstall(self) -> None:
        """Take the edit back. Calling it again does nothing.

        Raises:
            EditError: the program has not noticed the edit: its function was not called, no layer or call matched,
                or what the change returned had another shape. With ``strict=False`` that is a warning.
        """
        self._take_back(3)

    def discard(self) -> None:
        """Take the edit back without a word on what it did."""
        self._take_back(1, quietly=True)

    def _take_back(self, stacklevel: int, quietly: bool = False) -> None:
        if not self._installed:
            return
        found = registry.was_found(self._active)
        self._active.settle()
        super().uninstall()
        if quietly:
            return
        errors = self._active.errors(found)
        for text in (*self._active.warnings(), *(() if self._raises else errors)):
            warn_at(text, stacklevel)
        if errors and self._raises:
            raise EditError(errors[0])

    def __enter__(self) -> Edit:
        return self if self._installed else self.install()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._take_back(3, quietly=kind is not None)

    @property
    def is_installed(self) -> bool:
        """Whether it is installed."""
        return self._installed

    @property
    def receipts(self) -> dict[str | None, Receipt]:
        """What it did since it was installed, by layer."""
        self._active.settle()
        return {layer: one for layer, one in self._active.receipts.items() if one.fired}

    @property
    def value(self) -> Any:
        """The number or tensor of a ready-made edit. What is set applies from the next call on; nothing compiles anew.

        Raises:
            AttributeError: the change has none.
        """
        return self.change.value  # type: ignore[attr-defined]

    @value.setter
    def value(self, value: Any) -> None:
        self.change.value = value  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<{self.text}{'' if self._installed else ', not installed'}>"


def installed_edits() -> list[Edit]:
    """The edits that are installed now, in the order of installation."""
    return [hook for hook in list(finder.by_hook) if isinstance(hook, Edit)]


def edit(target: Any, change: Change, *, layer: Any = None, call: Any = None, strict: bool = True) -> Edit:
    """Change a value inside of a function from now on, in modules that are imported already too.

    Args:
        target: ``"MODULE:QUALNAME=NAME"`` for each binding of a local, or with a point behind the name: ``@enter`` (a
            parameter), ``@call`` (what a call returns), ``@input`` (what it gets first), ``@return`` without a name
            (what the function returns), or of a fused attention ``query``, ``key``, ``value``, ``output`` or
            ``weights`` with ``@sdpa``. Also a mapping ``{Attention.forward: "attn"}``.
        change: a function of the value, or of the value and a `Site`, that returns the edited value with the same
            shape and dtype; or a ready-made one of ``astcapture.edits``.
        layer: these layers alone: a pattern (``"blocks.4.*"``), the number of a layer in order of appearance, or
            several of either.
        call: these executions of the function on each layer alone: a number from 0, a range, or several.
        strict: whether an edit that the program does not notice raises when it is uninstalled; else it warns.

    Several edits of one value apply in the order of installation, before the value is captured.

    Returns:
        The installed `Edit`, which is a context manager and has `uninstall`, `receipts` and `value`.

    Raises:
        EditError: an argument is not of the form.
        CaptureError: the function does not bind the name, or nothing reads it after that.

    >>> import textwrap
    >>> with edit("textwrap:dedent=@return", str.upper) as shouting:
    ...     textwrap.dedent("  hello")
    'HELLO'
    >>> shouting.receipts
    {None: <Receipt: fired once, changed values>}
    """
    return Edit(target, change, layer=layer, call=call, strict=strict).install()


def _name_of(change: Change) -> str:
    """The name of a function; empty for what is none."""
    return change.__name__ if isinstance(change, FunctionType) else ""


def _one_text(target: Any) -> str:
    """The target as text.

    Raises:
        EditError: it is no target, or several.
    """
    if isinstance(target, str):
        return target
    texts = as_texts(target)
    if isinstance(texts, dict) and len(texts) == 1:
        ((function, name),) = texts.items()
        if isinstance(name, str):
            return f"{function}={name}"
    raise EditError(
        f'edit({target!r}): write the target of one value, "mymodel:Attention.forward=attn", or a mapping from the '
        'function to the name, {Attention.forward: "attn"}'
    )


def _at_exit() -> None:
    """Say which edits the program has not noticed. If other processes ran the model, that is no mistake."""
    if os.getpid() != _process:
        return
    others = report.started_others() or os.environ.get(FIRST_PROCESS, str(_process)) != str(_process)
    for one in installed_edits():
        if not (one.never_came and others):
            for error in one.why_unnoticed():
                tell(f"astcapture: EditError: {error}")


_process = os.getpid()
atexit.register(_at_exit)
