"""A source loader that compiles the rewritten tree, with its own bytecode cache next to Python's.

`SourceLoader.get_code` is the interpreter's whole cache protocol: it calls `path_stats`, reads and writes bytecode
through `get_data` and `set_data`, and compiles through `source_to_code`. Only these four are overridden. Overriding
`exec_module` or `get_code` would put a frame of ours into the traceback of every error that the user's module raises on
import.
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
    """The overrides, as a mixin for any `SourceFileLoader`, so that another tool's loader keeps working."""

    name: str
    path: str
    capture_module: str
    capture_targets: Sequence[Target]
    capture_strict: bool

    #: The other tool's loader class, if our overrides were put in front of one; see `compose`.
    _composed: type[SourceFileLoader] | None = None
    # Set if the module was compiled plainly after all; that code must not be cached under our tag.
    _plain = False
    # Bytecode that was read in advance, with the path by which it will be requested. Removed after that, since loaders
    # are compared and pickled by their attributes.
    _read: tuple[str, bytes] = "", b""

    @property
    def source_to_code(self) -> Callable[..., CodeType]:
        """What `get_code` calls with the source.

        A property, because a wrapper function would appear in the traceback of a syntax error. If the source cannot
        be compiled, this *is* the other loader's method.
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
            # Called by other code with another source.
            return rewritten(data, path, _optimize) or plain(data, path, *args, _optimize=_optimize, **kwargs)

        return source_to_code

    def _compose(self, plain: Callable[..., CodeType], source: bytes) -> Callable[..., CodeType] | None:
        tree = rewritten_tree(
            source, self.capture_module, self.path, self.capture_targets, strict=self.capture_strict, name=self.name
        )
        if tree is None:
            return None

        def source_to_code(data: Any, *args: Any, **kwargs: Any) -> CodeType:
            # The other tool transforms trees: give it our tree in place of the source.
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
        """The size, and a digest of the source in place of the modification time.

        Python compares the time in whole seconds and the size, so an edit within the same second that keeps the size
        would run stale code. The source is read for the digest, unless our bytecode records that it was made from
        this file in its present state.
        """
        stats: Mapping[str, Any] = super().path_stats(path)  # type: ignore[misc]
        state = state_of(path)
        if state != UNKNOWN:
            # There may be no cache_tag, no file, or a damaged file.
            with contextlib.suppress(OSError, NotImplementedError):
                cached = importlib.util.cache_from_source(path)
                sealed = self.get_data(cached)
                if made_of(sealed) == state:
                    self._read = cached, sealed
                    return {**stats, "mtime": int.from_bytes(sealed[_TIME], "little")}
        return {**stats, "mtime": int.from_bytes(self._digest(path), "little")}

    def _digest(self, path: str) -> bytes:
        """Four bytes, the size of the time field in bytecode."""
        source: bytes = super().get_data(path)  # type: ignore[misc]
        digest: bytes = importlib.util.source_hash(source)
        return digest[:4]

    def get_data(self, path: str) -> bytes:
        """Read a file. Requests for Python's bytecode return ours; damaged bytecode counts as missing.

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
            # The state is read first: an edit after that changes the digest, and this bytecode is from before it.
            state = state_of(self.path)
            with contextlib.suppress(OSError):
                state = state if self._digest(self.path) == data[_TIME] else UNKNOWN
            super().set_data(self._tagged(path), seal(data, state), _mode=_mode)  # type: ignore[misc]

    def _is_bytecode(self, path: str) -> bool:
        """Whether a path is a bytecode cache of this module, not a data file."""
        if not path.endswith(_SUFFIX) or sys.implementation.cache_tag is None:
            return False
        folder, name = os.path.split(importlib.util.cache_from_source(self.path))
        return os.path.dirname(path) == folder and name.partition(".")[0] == os.path.basename(path).partition(".")[0]

    def _tagged(self, path: str) -> str:
        """The path of our bytecode: next to the plain one, with a tag that depends on all targets."""
        return f"{path.removesuffix(_SUFFIX)}.astcapture-{self._tag()}{_SUFFIX}"

    def _tag(self) -> str:
        asked = [_rewriter(), self.capture_module, *switched_off(), *(repr(target) for target in self.capture_targets)]
        return blake2b("\0".join([*asked, repr(self._composed)]).encode(), digest_size=8).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        # The classes that `compose` creates cannot be pickled by name.
        return _restore, (self._composed, self.__dict__)


@cache
def _rewriter() -> str:
    """What our bytecode depends on besides the targets: the version and the rewriter's own source, which can change
    within a version in a checkout."""
    digest = blake2b(__version__.encode(), digest_size=8)
    folder = os.path.dirname(rewrite.__file__)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()


def loader_of(module: object) -> object:
    """The loader of a module, read without triggering the load of a lazy module."""
    try:
        spec = object.__getattribute__(module, "__dict__").get("__spec__")
    except AttributeError:
        return None
    return getattr(spec, "loader", None)


def is_asleep(module: object) -> bool:
    """Whether a module of `importlib.util.LazyLoader` has not run yet; reading an attribute would run it."""
    return type(module).__getattribute__ is not ModuleType.__getattribute__


class CaptureLoader(Capturing, SourceFileLoader):  # type: ignore[misc]
    """Loads a module from source with its captured functions rewritten; `module` is its name in keys."""

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
    """Add our overrides to a source loader, which may be another tool's, and keep its own behaviour.

    Its class is replaced by a subclass with our overrides in front; its state does not change.

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
