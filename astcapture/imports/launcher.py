"""Runs a script or a module in this process as ``python SCRIPT`` and ``python -m MODULE`` would.

The program sees the same arguments, search path and ``__main__``, and ends with the same traceback of an uncaught
error and the same exit status. The interpreter itself produces the last two: errors of the program propagate, and only
our own frames are removed from the printed traceback.
"""

from __future__ import annotations

import builtins
import io
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType

from astcapture.errors import CaptureError
from astcapture.imports import names
from astcapture.imports.session import switch_off


def run_script(argv: Sequence[str], *, module: bool = False) -> None:
    """Run ``argv[0]`` with `argv` as its arguments.

    Args:
        argv: a script, a folder or zip file with a ``__main__.py``, or a module's name; then its arguments.
        module: whether ``argv[0]`` is a module, as after ``python -m``.

    If a target names ``__main__``, the script itself is rewritten, since nothing imports it.

    Raises:
        SystemExit: the program's own; with status 2 if it cannot be read. All other errors of the program propagate.
    """
    name, sys.argv = argv[0], list(argv)
    try:
        if module:
            names.launched_module = name
            sys.argv[0] = "-m"  # what modules see while the packages that they are in are being imported
            _set_first_path(os.getcwd())
            _run_module(name, alter_argv=True)
        elif _is_importable(name):
            _set_first_path(_absolute(name), always=True)
            _run_module("__main__", alter_argv=False)
        else:
            source = _read(name)
            _set_first_path(os.path.dirname(os.path.realpath(name)))
            _run_file(_absolute(name), source)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_own_frames(error)
        raise


def _set_first_path(folder: str, always: bool = False) -> None:
    """Replace the first search path, which the interpreter set for its own program; with -P or -I it set none."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = folder
    elif always:
        sys.path.insert(0, folder)


def _is_importable(path: str) -> bool:
    """Whether the interpreter would import from `path`, a folder or a zip file, rather than read it."""
    from pkgutil import get_importer

    return get_importer(path) is not None


def _absolute(path: str) -> str:
    """The path as the interpreter completes it: absolute, but otherwise as the user wrote it."""
    return os.path.join(os.getcwd(), path)


def _read(path: str) -> bytes:
    try:
        with io.open_code(path) as file:
            return file.read()
    except OSError as error:
        switch_off()  # nothing runs, so there is no summary
        # The message and exit status of the interpreter.
        where = _absolute(path)
        print(f"{sys.executable}: can't open file {where!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None


def _run_module(name: str, alter_argv: bool) -> None:
    # The function that the interpreter itself calls for -m, so that a failure has the same message.
    from runpy import _run_module_as_main  # type: ignore[attr-defined]

    _new_main()
    _run_module_as_main(name, alter_argv)


def _run_file(path: str, source: bytes) -> None:
    main = _new_main()
    compiled = path.endswith(".pyc")
    code = _load_code(source) if compiled else _compile(path, source)
    _run_as_main(code, main, path, (SourcelessFileLoader if compiled else SourceFileLoader)("__main__", path))


def _run_as_main(code: CodeType, main: ModuleType, path: str, loader: object) -> None:
    main.__dict__.update(__loader__=loader, __file__=path, **names.CACHED)
    try:
        exec(code, main.__dict__)
    finally:
        # As the interpreter does: exit handlers, and a prompt afterwards, see neither.
        for name in ("__file__", "__cached__"):
            main.__dict__.pop(name, None)


def run_program(path: str) -> None:
    """Run the interpreter's own script from its rewritten code, in place of the interpreter.

    The interpreter has prepared to import from the script's path, as from a folder. This is undone first.
    """
    from astcapture.imports.outdated import ran_in
    from astcapture.imports.script import waiting

    code, key, targets = waiting.pop()
    main = sys.modules["__main__"]
    main.__dict__.update(__spec__=None, __package__=None)
    if sys.path[:1] == [path]:
        del sys.path[0]
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    ran_in(path, key, (key,), targets, main)
    try:
        _run_as_main(code, main, path, SourceFileLoader("__main__", path))
    except BaseException as error:
        # With -i the interpreter prints an exit too.
        if sys.flags.inspect or not isinstance(error, SystemExit):
            _hide_own_frames(error)
        raise


def _new_main() -> ModuleType:
    """Put a new ``__main__`` in place of this program's own, which its running frames keep alive."""
    main = ModuleType("__main__")
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    return main


def _compile(path: str, source: bytes) -> CodeType:
    from astcapture.imports.compile import compiled_as, rewritten_code
    from astcapture.imports.hook import finder
    from astcapture.imports.outdated import ran_in

    own_names = names.names_of(names.MAIN, path)
    key, targets = names.meant(finder.targets, own_names)
    if targets:
        try:
            rewritten = rewritten_code(source, key, path, targets, strict=finder.strict, name=names.MAIN)
        except CaptureError as error:
            switch_off()
            raise SystemExit(f"astcapture: {error}") from None
        if rewritten is not None:
            ran_in(path, key, own_names, targets, sys.modules["__main__"])
            return rewritten
    code: CodeType = compile(source, path, "exec", dont_inherit=True, **compiled_as(names.MAIN))
    return code


def _load_code(compiled: bytes) -> CodeType:
    from pkgutil import read_code

    code = read_code(io.BytesIO(compiled))
    if code is None:
        raise RuntimeError("Bad magic number in .pyc file")
    assert isinstance(code, CodeType)
    return code


def _hide_own_frames(error: BaseException) -> None:
    """Print the traceback of the uncaught `error` from the program's first frame on, with any excepthook."""
    print_error = sys.excepthook

    def hook(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if value is error:
            traceback = _from_program(traceback)
            value.__traceback__ = traceback  # the interpreter's own hook prints this one
        print_error(kind, value, traceback)

    sys.excepthook = hook


def _from_program(traceback: TracebackType | None) -> TracebackType | None:
    starts = (_run_as_main.__code__, _run_module.__code__)
    while traceback is not None and traceback.tb_frame.f_code not in starts:
        traceback = traceback.tb_next
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    return traceback
