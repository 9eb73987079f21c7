"""Install and uninstall: the finder on ``sys.meta_path``, recording on, and the marker told to notice."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType
from typing import Any

from astcapture.errors import CaptureError
from astcapture.imports import beside, direct, hot_reload, report, script
from astcapture.imports.finder import CaptureFinder, importing_line
from astcapture.imports.lazily import import_what_waits
from astcapture.imports.names import meant, names_of, with_aliases
from astcapture.imports.notice import notice_unrewritten
from astcapture.imports.objects import as_texts
from astcapture.imports.outdated import outdated
from astcapture.imports.patch import bring_up_to_date
from astcapture.record import budget, events, policy, switch
from astcapture.record.draining import settle_compiled
from astcapture.record.limit import AUTO, read_limit
from astcapture.record.options import Conversions, read_conversions
from astcapture.record.recording import convert, expect_torch, forget_torch
from astcapture.targets import marker
from astcapture.targets.environment import read_environment
from astcapture.targets.target import Target, TargetsLike, parse_targets
from astcapture.values import open_store as stores
from astcapture.values.cache import drain
from astcapture.warn import warn

finder = CaptureFinder()

#: What names functions besides a string: a function, a class, an ``nn.Module`` (all are called), a Python module.
Named = str | Callable[..., Any] | ModuleType

#: Held while a hook is installed or uninstalled: what live functions run depends on all hooks together.
_changing = threading.RLock()

#: How values are taken where nothing is said of it.
_OPTIONS: dict[str, Any] = {
    "copy": True, "device": None, "dtype": None, "reduce": None, "grad": False, "layers": None,
}  # fmt: skip


class Hook:
    """An installed hook; as a context manager it uninstalls itself.

    Attributes:
        targets: what it captures.
        strict: whether a bug in the rewriter raises instead of importing the plain module.
        one_model: the model that it captures; None for every model.
    """

    def __init__(
        self,
        targets: tuple[Target, ...],
        strict: bool,
        conversions: Conversions | None = None,
        limit: int | str | None = AUTO,
        store: str | os.PathLike[str] | None = None,
        one_model: policy.OneModel | None = None,
    ) -> None:
        self.targets = targets
        self.strict = strict
        self._conversions = read_conversions() if conversions is None else conversions
        self._limit = limit
        self._store = store
        self.one_model = one_model
        self._installed = False
        # With the targets that some of these turn out to mean.
        self._meant = [alias for target in targets for alias in with_aliases(target)]

    def _install(self) -> None:
        import_what_waits()
        with _changing:
            if self._store is not None:
                stores.open_store(self._store, [str(target) for target in self.targets], self.strict)
            if not finder.by_hook:
                marker.notice = lambda function: notice_unrewritten(function, finder.targets)
            _stand_first()
            direct.install(finder)
            script.install(finder)
            hot_reload.install(finder)
            events.on_beside = _take_beside
            finder.by_hook[self] = (self.targets, self.strict)
            self._installed = True
            self._begin()
            new = report.watch(finder)
            try:
                _exchange_live(self._edited)
            except BaseException as error:
                self._uninstall_alone()
                report.forget(new)  # the error has told
                if isinstance(error, CaptureError):
                    error.__traceback__ = None  # where in our code a mistake was noticed tells its author nothing
                raise error

    @property
    def _edited(self) -> Sequence[Target]:
        """The functions whose values are edited by what is installed."""
        return ()

    def _begin(self) -> None:
        """Switch on what rewritten code calls: recording, as this hook asks for."""
        settle_compiled()
        policy.add(self, self._meant, self._conversions, self.one_model)
        budget.ask(self, self._limit)
        convert()
        switch.installed(+1)
        if "torch" in sys.modules:
            expect_torch()

    def _end(self) -> None:
        """Undo `_begin`."""
        settle_compiled()
        if policy.any_block():
            drain()  # where a value goes depends on who asks for it
        policy.remove(self)
        budget.release(self)
        convert()
        switch.installed(-1)

    def uninstall(self) -> None:
        """Stop: modules imported from now on are plain, and the live functions get their own code back.

        Calling it again does nothing. What was captured stays in ``astcapture.cache``; with a store, what is
        not on disk yet is written now.

        Raises:
            CaptureError: the store could not be written to, and the hook is strict.
        """
        with _changing:
            if self._installed:
                self._uninstall_alone()

    def _uninstall_alone(self) -> None:
        self._installed = False
        del finder.by_hook[self]
        self._end()
        if not finder.by_hook:
            forget_torch()
            marker.notice = None
            events.on_beside = None
            direct.uninstall()
            script.uninstall()
            hot_reload.uninstall()
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)
        _exchange_live(self._edited)
        if self._store is not None:
            stores.close_store()

    def spec(self, spec: ModuleSpec) -> ModuleSpec:
        """Make a spec that was made by hand load its module captured, as an import by name would; the same spec.

        For `importlib.util.spec_from_file_location`, which asks no finder:
        ``spec = hook.spec(spec_from_file_location("mymodel", path))``.

        Raises:
            CaptureError: no target of this hook means the module of that name.
        """
        path = getattr(spec.loader, "path", None)
        name, targets = meant(self.targets, names_of(spec.name, path if isinstance(path, str) else None))
        if not targets:
            raise CaptureError(f"no target of {self!r} means {spec.name}: write install([{spec.name!r}])")
        finder.take(spec, targets, name)
        return spec

    def _learn(self, target: Target, moved: Target) -> None:
        """Take note that a target of this hook means one of another module, so that its options hold there."""
        if target in self._meant and moved not in self._meant:
            self._meant.append(moved)
            self._also_means()

    def _also_means(self) -> None:
        """The targets have come to mean more functions."""
        policy.remove(self)
        policy.add(self, self._meant, self._conversions, self.one_model)

    def __enter__(self) -> Hook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.uninstall()

    def __repr__(self) -> str:
        state = "" if self._installed else ", uninstalled"
        # Of a recipe its name, not each of its targets.
        named = dict.fromkeys(target.recipe or str(target) for target in self.targets)
        return f"<Hook: {'; '.join(named)}{state}>"


def install(
    targets: TargetsLike | Named | Iterable[Named] | Mapping[Any, str | Sequence[str]] | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    copy: bool | Mapping[str, bool] = True,
    device: Any = None,
    dtype: Any = None,
    reduce: Callable[..., Any] | str | Mapping[str, Callable[..., Any] | str | None] | None = None,
    grad: bool | Mapping[str, bool] = False,
    layers: str | Sequence[str] | Mapping[str, str | Sequence[str] | None] | None = None,
    limit: int | str | None = "auto",
    strict: bool = False,
    imported: str = "patch",
) -> Hook:
    """Capture the functions that `targets` name, in the modules imported from now on.

    Args:
        targets: ``"MODULE"`` for the marked functions of a module and its submodules,
            ``"MODULE:QUALNAME=NAME,NAME"`` for any function, a list of those, or a mapping
            ``{"MODULE:QUALNAME": [names]}``. Without it, what ``ASTCAPTURE`` says. In place of a string, also as a
            key: a function or a method (``{Attention.forward: "attn"}``), a Python module, a class, or a model. A
            class or an ``nn.Module`` with names means its ``forward``, and without names the functions that are
            marked in its code; a model without marks means its attention, by the recipes.
        strict: raise where the rewriter fails, instead of importing the plain module with a warning, and where
            the store cannot be written to.
        imported: what to do about modules that are imported already: ``"patch"`` exchanges the code
            of their live functions, so that models built earlier are captured too, and warns of
            what cannot be exchanged; ``"error"`` refuses.
        copy: keep copies of tensors and arrays. With False the values themselves are kept, and reading one that
            torch has counted a change in place of since is a `CaptureError`.
        device: where tensors are kept, ``"cpu"`` or ``"cuda:0"``; without it, where they are.
        dtype: what floating values are kept in, a dtype of torch's or numpy's or its name. A complex dtype is for
            complex values; whole numbers, booleans and quantised tensors stay as they are.
        reduce: a function of the value, a copy of its own, whose result is kept in place of the value; or its name,
            ``"MODULE:FUNCTION"``. A function of two parameters is given the value and what is known of it: ``label,
            module, function, lineno, layer, model, tags``. If it raises, that is recorded as a failure.
        grad: keep the gradient that reaches a value in backward too, as ``record.grad``; it is converted and
            reduced as the value is.
        layers: record these layers alone, ``"blocks.11.*"`` or a list of such patterns; of the others nothing is
            computed, copied or kept (compiled code copies before it knows, and drops the copies after the run).
        limit: bytes of memory that recorded values may take, as a number or ``"2GB"``; None for no limit;
            ``"auto"``, a quarter of what is free when the first value comes. See ``docs/values.md``.
        store: a folder to stream what is captured to, which ``astcapture.load`` reads; see ``docs/store.md``. What
            the process has captured up to now stays in memory, and so does what ``recording()`` takes.

    Each of `copy`, `device`, `dtype`, `reduce`, `grad` and `layers` takes a mapping as well, from patterns of
    ``MODULE:QUALNAME=LABEL``, ``MODULE:QUALNAME`` or ``LABEL``, with shell wildcards, to settings; the first that
    matches holds. Where two hooks name the same, the closer target decides, and of equals the newer hook.

    Returns:
        A `Hook`, which is a context manager and has `uninstall`.

    Raises:
        CaptureError: a target that is not of the form, or an argument that this version refuses.

    >>> with install(["mymodel"]) as hook:
    ...     hook
    <Hook: mymodel>
    """
    options = {"copy": copy, "device": device, "dtype": dtype, "reduce": reduce, "grad": grad, "layers": layers}
    if targets is None:
        settings = read_environment(os.environ)
        targets, strict = settings.targets, strict or settings.strict
        if store is None and settings.store is not None:
            # A process that this one starts may work in another folder.
            store = os.environ["ASTCAPTURE_STORE"] = os.path.abspath(settings.store)
        options = {
            name: setting if setting != _OPTIONS[name] else settings.options.get(name, setting)
            for name, setting in options.items()
        }
        limit = settings.limit if limit == AUTO and settings.limit is not None else limit
    if imported not in ("patch", "error"):
        raise CaptureError(f'install(imported={imported!r}): write imported="patch" or imported="error"')
    parsed = parse_targets(as_texts(targets))
    if not parsed:
        raise CaptureError('install() has no targets, and ASTCAPTURE is not set: write install(["mymodel"])')
    if imported == "error":
        _refuse_imported(parsed)
    hook = Hook(parsed, strict, read_conversions(**options), read_limit(limit), store)
    hook._install()
    return hook


def _stand_first() -> None:
    """Put the finder before all others, wherever it stands now: what another finds first never comes to it."""
    if sys.meta_path[:1] != [finder]:
        # Another thread may be going through the list: it may ask somebody twice, and passes nobody by.
        sys.meta_path.insert(0, finder)
        if finder in sys.meta_path[1:]:
            del sys.meta_path[sys.meta_path.index(finder, 1)]


def _refuse_imported(targets: tuple[Target, ...]) -> None:
    late = [one.name for one in outdated((*finder.targets, *targets))]
    if late:
        raise CaptureError(
            f"{', '.join(late)}: imported before install(); call install() first, set ASTCAPTURE, "
            'or remove imported="error" to capture live functions too'
        )


def _exchange_live(edited: Sequence[Target] = ()) -> None:
    """Have the functions of imported modules run as the hooks that are installed now ask."""
    for done in bring_up_to_date(finder.targets, strict=finder.strict, edited=edited):
        for problem in done.problems:
            warn(f"not captured: {problem}", *importing_line())


def _take_beside(module: str, told: events.Beside) -> None:
    """Told of what a module declares beside its captured functions, as it is imported or exchanged."""
    beside.tell_left_alone(module, told)
    if not beside.follow_moved(told, finder):
        return
    for target, moved in list(finder.moved.items()):
        for hook in list(finder.by_hook):
            if isinstance(hook, Hook):
                hook._learn(target, moved)
    convert()
    # The module that defines it may be imported already.
    _exchange_live()


def _after_fork() -> None:
    # Another thread may have held it at the moment of the fork.
    global _changing
    _changing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
