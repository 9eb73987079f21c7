"""A source loader that compiles the rewritten tree, with a bytecode cache of its own beside Python's.

`SourceLoader.get_code` is the interpreter's whole cache protocol: it asks `path_stats`, reads and
writes bytecode through `get_data` and `set_data`, and compiles through `source_to_code`. Those four
are all that is overridden. `exec_module` and `get_code` are not: a frame of ours there would stand in
the traceback of every error that the user's module raises on import.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from astcapture import rewrite
from astcapture.errors import CaptureError
from astcapture.imports.compile import raising_code, rewritten_code, rewritten_tree, switched_off
from astcapture.imports.others import other_tool, taking_trees
from astcapture.imports.sealed import UNKNOWN, is_whole, made_of, seal, state_of
from astcapture.targets.target import Target
from astcapture.version import __version__
from astcapture.warn import warn

_SUFFIX = ".pyc"
#: Where bytecode holds the time of its source (PEP 3147, PEP 552).
_TIME = slice(8, 12)


class Capturing:
    """The overrides, as a mixin over any `SourceFileLoader`, so that another tool's loader keeps doing its work."""

    name: str
    path: str
    capture_module: str
    capture_targets: Sequence[Target]
    capture_strict: bool

    #: The other tool's loader class, where this is one of theirs with ours in front; see `compose`.
    _composed: type[SourceFileLoader] | None = None
    # Set when plain code was compiled after all; it must not be cached under our tag.
    _plain = False
    # Bytecode that has been read and is asked for next, with the path that it is asked for by. Deleted then: loaders
    # are compared and pickled by what they hold.
    _read: tuple[str, bytes] = "", b""

    @property
    def source_to_code(self) -> Callable[..., CodeType]:
        """What `get_code` calls with the source.

        A property, because a function of ours that called on would stand in the traceback of a
        syntax error: where the source cannot be compiled this *is* the other loader's method.
        """
        plain = self.source_to_code_behind
        source: bytes = super().get_data(self.path)  # type: ignore[misc]
        try:
            code = self._compose(plain, source) if self._composed else self._rewrite(plain, source)
        except CaptureError as error:
            self._plain = True
            raising = raising_code(error, self.path)
            return lambda *args, **kwargs: raising
        if code is None:
            self._plain = True
            return plain
        return code

    @property
    def source_to_code_behind(self) -> Callable[..., CodeType]:
        """How the module is compiled without us."""
        plain: Callable[..., CodeType] = super().source_to_code  # type: ignore[misc]
        return plain

    def _rewrite(self, plain: Callable[..., CodeType], source: bytes) -> Callable[..., CodeType] | None:
        def rewritten(data: bytes, path: str, optimize: int) -> CodeType | None:
            return rewritten_code(
                data,
                self.capture_module,
                path,
                self.capture_targets,
                strict=self.capture_strict,
                optimize=optimize,
                name=self.name,
            )

        code = rewritten(source, self.path, -1)
        if code is None:
            return None

        def source_to_code(data: Any, path: Any, *args: Any, _optimize: int = -1, **kwargs: Any) -> CodeType:
            if (data, path, _optimize) == (source, self.path, -1):
                return code
            # Called by somebody with something else to compile.
            return rewritten(data, path, _optimize) or plain(data, path, *args, _optimize=_optimize, **kwargs)

        return source_to_code

    def _compose(self, plain: Callable[..., CodeType], source: bytes) -> Callable[..., CodeType] | None:
        tree = rewritten_tree(
            source, self.capture_module, self.path, self.capture_targets, strict=self.capture_strict, name=self.name
        )
        if tree is None:
            return None

        def source_to_code(data: Any, *args: Any, **kwargs: Any) -> CodeType:
            # The other tool transforms trees: give it ours in place of the source.
            try:
                return taking_trees(plain)(tree, *args, **kwargs)
            except Exception:
                self._plain = True
            warn(
                f"{self.name} is imported without captures: {other_tool(self)} also transforms it, and accepts "
                "only source text; exclude the module from one of the two import hooks",
                self.path,
                1,
            )
            return plain(data, *args, **kwargs)

        return source_to_code

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """The size, and in place of the time a digest of the source.

        Python compares a time in whole seconds and a size, so an edit within the same second that keeps the
        size would run stale code. The source is read for it, unless our bytecode says that it was made of this
        very file, which nobody has touched since.
        """
        stats: Mapping[str, Any] = super().path_stats(path)  # type: ignore[misc]
        state = state_of(path)
        if state != UNKNOWN:
            # No cache_tag, no file, no whole one.
            with contextlib.suppress(OSError, NotImplementedError):
                cached = importlib.util.cache_from_source(path)
                sealed = self.get_data(cached)
                if made_of(sealed) == state:
                    self._read = cached, sealed
                    return {**stats, "mtime": int.from_bytes(sealed[_TIME], "little")}
        return {**stats, "mtime": int.from_bytes(self._digest(path), "little")}

    def _digest(self, path: str) -> bytes:
        """Four bytes, as many as bytecode has for a time."""
        source: bytes = super().get_data(path)  # type: ignore[misc]
        digest: bytes = importlib.util.source_hash(source)
        return digest[:4]

    def get_data(self, path: str) -> bytes:
        """Read a file; our bytecode where Python's is asked for, which counts as missing if it is not whole.

        Raises:
            OSError: no such file.
        """
        if not self._is_bytecode(path):
            data: bytes = super().get_data(path)  # type: ignore[misc]
            return data
        sealed: bytes
        read, sealed = self.__dict__.pop("_read", Capturing._read)
        if read != path:
            sealed = super().get_data(self._tagged(path))  # type: ignore[misc]
            if not is_whole(sealed):
                raise OSError(f"{self._tagged(path)} is damaged")
        return sealed

    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:
        if not self._is_bytecode(path):
            super().set_data(path, data, _mode=_mode)  # type: ignore[misc]
        elif not self._plain:
            # The state first: an edit meanwhile is in the digest, and this bytecode was made of what was there before.
            state = state_of(self.path)
            with contextlib.suppress(OSError):
                state = state if self._digest(self.path) == data[_TIME] else UNKNOWN
            super().set_data(self._tagged(path), seal(data, state), _mode=_mode)  # type: ignore[misc]

    def _is_bytecode(self, path: str) -> bool:
        """Whether a path is where Python or a tool keeps the bytecode of this module, and not a file of data."""
        if not path.endswith(_SUFFIX) or sys.implementation.cache_tag is None:
            return False
        folder, name = os.path.split(importlib.util.cache_from_source(self.path))
        return os.path.dirname(path) == folder and name.partition(".")[0] == os.path.basename(path).partition(".")[0]

    def _tagged(self, path: str) -> str:
        """Where our bytecode stands: beside the plain one, under a tag that depends on all that was asked for."""
        return f"{path.removesuffix(_SUFFIX)}.astcapture-{self._tag()}{_SUFFIX}"

    def _tag(self) -> str:
        asked = [_rewriter(), self.capture_module, *switched_off(), *(repr(target) for target in self.capture_targets)]
        return blake2b("\0".join([*asked, repr(self._composed)]).encode(), digest_size=8).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        # The classes that `compose` makes have no name to be pickled by.
        return _restore, (self._composed, self.__dict__)


@cache
def _rewriter() -> str:
    """What bytecode of ours depends on besides what is asked for: the version, and the rewriter's own source,
    which changes between versions for those who install from a checkout."""
    digest = blake2b(__version__.encode(), digest_size=8)
    folder = os.path.dirname(rewrite.__file__)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()


def loader_of(module: object) -> object:
    """The loader that a module came from, read without waking a module that is imported lazily."""
    try:
        spec = object.__getattribute__(module, "__dict__").get("__spec__")
    except AttributeError:
        return None
    return getattr(spec, "loader", None)


def is_asleep(module: object) -> bool:
    """Whether a module of `importlib.util.LazyLoader` has yet to be run; to read an attribute of it would run it."""
    return type(module).__getattribute__ is not ModuleType.__getattribute__


class CaptureLoader(Capturing, SourceFileLoader):  # type: ignore[misc]
    """Loads a module from source with its captured functions rewritten; `module` is what its keys call it."""

    def __init__(
        self, fullname: str, path: str, targets: Sequence[Target], *, strict: bool = False, module: str = ""
    ) -> None:
        super().__init__(fullname, path)
        self.capture_module = module or fullname
        self.capture_targets = tuple(targets)
        self.capture_strict = strict


def compose(
    loader: SourceFileLoader, targets: Sequence[Target], *, strict: bool = False, module: str = ""
) -> SourceFileLoader:
    """Give a source loader, another tool's for one, our overrides, keeping all that it does itself.

    Its class is exchanged for one that has ours in front; its state is untouched.

    Raises:
        TypeError: its class cannot be exchanged.
    """
    loader.__class__ = CaptureLoader if type(loader) is SourceFileLoader else _composed_class(type(loader))
    loader.capture_module = module or loader.name  # type: ignore[attr-defined]
    loader.capture_targets = tuple(targets)  # type: ignore[attr-defined]
    loader.capture_strict = strict  # type: ignore[attr-defined]
    return loader


@cache
def _composed_class(other: type[SourceFileLoader]) -> type[SourceFileLoader]:
    return type(f"Capturing{other.__name__}", (Capturing, other), {"_composed": other})


def _restore(other: type[SourceFileLoader] | None, state: dict[str, Any]) -> SourceFileLoader:
    kind = CaptureLoader if other is None else _composed_class(other)
    loader: SourceFileLoader = kind.__new__(kind)
    loader.__dict__.update(state)
    return loader
