"""Install and uninstall: the finder on ``sys.meta_path``, recording on, and the marker told to notice."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from astcapture.errors import CaptureError, CaptureWarning
from astcapture.imports import report
from astcapture.imports.finder import CaptureFinder
from astcapture.imports.imported import imported_unrewritten
from astcapture.imports.notice import notice_unrewritten
from astcapture.record import switch
from astcapture.targets import marker
from astcapture.targets.environment import read_environment
from astcapture.targets.target import Target, TargetsLike, parse_targets

_finder = CaptureFinder()

#: Arguments of `install` that a later version fills, with the only value that this one takes.
_NOT_YET: dict[str, Any] = {"store": None, "copy": True, "device": None, "dtype": None, "reduce": None, "limit": "auto"}


class Hook:
    """An installed hook; as a context manager it uninstalls itself.

    Attributes:
        targets: what it captures.
        strict: whether a bug in the rewriter raises instead of importing the plain module.
    """

    def __init__(self, targets: tuple[Target, ...], strict: bool) -> None:
        self.targets = targets
        self.strict = strict
        self._installed = False

    def _install(self) -> None:
        if not _finder.by_hook:
            sys.meta_path.insert(0, _finder)
            marker.notice = lambda function: notice_unrewritten(function, _finder.targets)
        elif _finder not in sys.meta_path:
            # Somebody took it off, or replaced the whole list.
            sys.meta_path.insert(0, _finder)
        _finder.by_hook[id(self)] = (self.targets, self.strict)
        self._installed = True
        switch.installed(+1)
        report.watch(_finder)

    def uninstall(self) -> None:
        """Stop: modules imported from now on are plain, and with the last hook gone nothing more is recorded.

        Calling it again does nothing. What was captured stays in ``astcapture.cache``.
        """
        if not self._installed:
            return
        self._installed = False
        del _finder.by_hook[id(self)]
        switch.installed(-1)
        if not _finder.by_hook:
            marker.notice = None
            if _finder in sys.meta_path:
                sys.meta_path.remove(_finder)

    def __enter__(self) -> Hook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.uninstall()

    def __repr__(self) -> str:
        state = "" if self._installed else ", uninstalled"
        return f"<Hook: {'; '.join(map(str, self.targets))}{state}>"


def install(
    targets: TargetsLike | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    copy: bool = True,
    device: Any = None,
    dtype: Any = None,
    reduce: Callable[[Any], Any] | None = None,
    limit: int | str | None = "auto",
    strict: bool = False,
    imported: str = "warn",
) -> Hook:
    """Capture the functions that `targets` name, in the modules imported from now on.

    Args:
        targets: ``"MODULE"`` for the marked functions of a module and its submodules,
            ``"MODULE:QUALNAME=NAME,NAME"`` for functions of anybody's, a list of those, or a
            mapping ``{"MODULE:QUALNAME": [names]}``. Without it, what ``ASTCAPTURE`` says.
        strict: raise where the rewriter fails, instead of importing the plain module with a warning.
        imported: what to do about targets that are imported already: ``"warn"`` or ``"error"``.
        store, copy, device, dtype, reduce, limit: reserved; other values than the default are refused.

    Returns:
        A `Hook`, which is a context manager and has `uninstall`.

    Raises:
        CaptureError: a target that is not of the form, or an argument that this version refuses.

    >>> with install(["mymodel"]) as hook:
    ...     hook
    <Hook: mymodel>
    """
    given = {"store": store, "copy": copy, "device": device, "dtype": dtype, "reduce": reduce, "limit": limit}
    if targets is None:
        settings = read_environment(os.environ)
        targets, strict = settings.targets, strict or settings.strict
        given.update(
            store=store or settings.store,
            device=device or settings.device,
            dtype=dtype or settings.dtype,
            limit=settings.limit if settings.limit is not None else limit,
        )
    for name, value in given.items():
        if value != _NOT_YET[name]:
            raise CaptureError(f"install({name}={value!r}): {name} is not in this version yet; leave it out")
    if imported not in ("warn", "error"):
        raise CaptureError(f'install(imported={imported!r}): write imported="warn" or imported="error"')
    parsed = parse_targets(targets)
    if not parsed:
        raise CaptureError('install() has no targets, and ASTCAPTURE is not set: write install(["mymodel"])')
    _check_imported(parsed, imported)
    hook = Hook(parsed, strict)
    hook._install()
    return hook


def _check_imported(targets: tuple[Target, ...], imported: str) -> None:
    late = imported_unrewritten(targets)
    if not late:
        return
    message = (
        f"{', '.join(late)}: imported before install(), so nothing is captured there; "
        "call install() before the import, or set ASTCAPTURE"
    )
    if imported == "error":
        raise CaptureError(message)
    warnings.warn(message, CaptureWarning, stacklevel=3)
