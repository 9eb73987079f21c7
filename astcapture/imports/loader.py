"""A source loader that compiles the rewritten tree, with a bytecode cache of its own beside Python's.

`SourceLoader.get_code` is the interpreter's whole cache protocol: it asks `path_stats`, reads and
writes bytecode through `get_data` and `set_data`, and compiles through `source_to_code`. Those four
are all that is overridden. `exec_module` and `get_code` are not: a frame of ours there would stand in
the traceback of every error that the user's module raises on import.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

from astcapture.imports.compile import compile_tree, rewritten_tree
from astcapture.targets.target import Target
from astcapture.version import __version__

_SUFFIX = ".pyc"


class Capturing:
    """The overrides, as a mixin over any `SourceFileLoader`, so that another tool's loader keeps doing its work."""

    name: str
    path: str
    capture_module: str
    capture_targets: Sequence[Target]
    capture_strict: bool

    @property
    def source_to_code(self) -> Callable[..., CodeType]:
        """What `get_code` calls with the source.

        A property, because a function of ours that called on would stand in the traceback of a
        syntax error: where there is nothing to rewrite this *is* the other loader's method.
        """
        plain: Callable[..., CodeType] = super().source_to_code  # type: ignore[misc]
        source: bytes = super().get_data(self.path)  # type: ignore[misc]
        tree = rewritten_tree(
            source, self.capture_module, self.path, self.capture_targets, strict=self.capture_strict
        )
        if tree is None:
            self._plain = True
            return plain

        def rewritten(data: Any, path: Any, *args: Any, _optimize: int = -1, **kwargs: Any) -> CodeType:
            if type(self)._composed:
                # The other tool transforms trees: give it ours in place of the source.
                code: CodeType = plain(tree, path, *args, _optimize=_optimize, **kwargs)
                return code
            return compile_tree(tree, path, _optimize)

        return rewritten

    _composed = False
    # Set when plain code was compiled after all; it must not be cached under our tag.
    _plain = False

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """The size, and in place of the time a digest of the source.

        Python compares a time in whole seconds and a size, so an edit within the same second that
        keeps the size would run stale code. Reading the source costs little beside importing it.
        """
        stats: Mapping[str, Any] = super().path_stats(path)  # type: ignore[misc]
        digest = importlib.util.source_hash(super().get_data(path))  # type: ignore[misc]
        return {**stats, "mtime": int.from_bytes(digest[:4], "little")}

    def get_data(self, path: str) -> bytes:
        data: bytes = super().get_data(self._tagged(path))  # type: ignore[misc]
        return data

    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:
        if not self._plain:
            super().set_data(self._tagged(path), data, _mode=_mode)  # type: ignore[misc]

    def _tagged(self, path: str) -> str:
        """Where our bytecode stands: beside the plain one, under a tag that depends on all that was asked for."""
        if not path.endswith(_SUFFIX) or path == self.path:
            return path
        return f"{path.removesuffix(_SUFFIX)}.astcapture-{self._tag()}{_SUFFIX}"

    def _tag(self) -> str:
        asked = [__version__, self.capture_module, *(repr(target) for target in self.capture_targets)]
        return blake2b("\0".join(asked).encode(), digest_size=8).hexdigest()


class CaptureLoader(Capturing, SourceFileLoader):  # type: ignore[misc]
    """Loads a module from source with its captured functions rewritten."""

    def __init__(
        self, fullname: str, path: str, targets: Sequence[Target], *, strict: bool = False
    ) -> None:
        super().__init__(fullname, path)
        self.capture_module = fullname
        self.capture_targets = tuple(targets)
        self.capture_strict = strict


def compose(loader: SourceFileLoader, targets: Sequence[Target], *, strict: bool = False) -> SourceFileLoader:
    """Give another tool's source loader our overrides, keeping all that it does itself.

    Its class is exchanged for one that has ours in front; its state is untouched.
    """
    other = type(loader)
    composed = type(f"Capturing{other.__name__}", (Capturing, other), {"_composed": True})
    loader.__class__ = composed  # type: ignore[assignment]
    loader.capture_module = loader.name  # type: ignore[attr-defined]
    loader.capture_targets = tuple(targets)  # type: ignore[attr-defined]
    loader.capture_strict = strict  # type: ignore[attr-defined]
    return loader
