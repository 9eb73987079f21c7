"""What to capture as the environment says it: ``ASTCAPTURE`` and its kin, and the file ``ASTCAPTURE_CONFIG`` names.

It reads words and leaves their meaning to those who know it: targets stay text, so do sizes and dtypes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from astcapture.errors import CaptureError

_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off", "")


@dataclass(frozen=True)
class Settings:
    """What the environment asks for; None where it says nothing.

    `targets` are as `parse_targets` reads them; the others as `install` takes them, in words. Of the options of how
    values are taken, each can be a table from patterns to settings in a file; `copy`, `reduce` and `grad` have no
    variable.
    """

    targets: tuple[str, ...] = ()
    store: str | None = None
    limit: str | None = None
    device: Any = None
    dtype: Any = None
    strict: bool = False
    copy: Any = None
    reduce: Any = None
    grad: Any = None
    layers: Any = None
    edits: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """How values are taken, as `install` takes it; those alone that are set."""
        names = ("copy", "device", "dtype", "reduce", "grad", "layers")
        return {name: setting for name in names if (setting := getattr(self, name)) is not None}


def read_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings; a variable goes before the same key of the file that ``ASTCAPTURE_CONFIG`` names.

    Raises:
        CaptureError: for a value that cannot be meant; the message names the variable, or the file and its key.

    >>> read_environment({"ASTCAPTURE": "mymodel; timm.layers:Attention.forward=attn"}).targets
    ('mymodel', 'timm.layers:Attention.forward=attn')
    """
    config = environ.get("ASTCAPTURE_CONFIG")
    settings = _read_file(config) if config else {}
    targets = tuple(text.strip() for text in re.split(r"[;\n]", environ.get("ASTCAPTURE", "")) if text.strip())
    if targets:
        settings["targets"] = targets
    for key in ("store", "limit", "device", "dtype", "layers"):
        if value := environ.get(f"ASTCAPTURE_{key.upper()}"):
            settings[key] = value
    if environ.get("ASTCAPTURE_EDIT"):
        from astcapture.targets.edit_text import split_edits  # few edit, and importing takes a while

        settings["edits"] = split_edits(environ["ASTCAPTURE_EDIT"])
    if "ASTCAPTURE_STRICT" in environ:
        settings["strict"] = _read_switch("ASTCAPTURE_STRICT", environ["ASTCAPTURE_STRICT"])
    return Settings(**settings)


def _read_switch(variable: str, value: str) -> bool:
    word = value.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise CaptureError(f"{variable}={value!r} is neither on nor off: write 1 or 0")


def _read_file(path: str) -> dict[str, Any]:
    """The settings in a TOML file, those alone that it has."""
    # Imported here, since most processes have no such file and start faster without.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CaptureError(f"{path} is not a TOML file: {error}") from None
    except RecursionError:
        raise CaptureError(f"{path} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CaptureError(
            f"ASTCAPTURE_CONFIG={path!r} cannot be read ({reason}): write the path of a TOML file"
        ) from None
    settings = {}
    for key, value in table.items():
        reader = _READERS.get(key)
        if reader is None:
            import difflib  # takes a while, and few mistype

            close = difflib.get_close_matches(key, _READERS, n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"write one of {', '.join(_READERS)}"
            raise CaptureError(f"{path}: there is no key {key!r}: {mend}")
        settings[key] = reader(f"{path}: {key}", value)
    return settings


def _read_targets(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(target, str) for target in value):
        return tuple(value)
    if not isinstance(value, dict):
        raise CaptureError(
            f'{where} is {value!r}: write a list of strings, ["mymodel"], or a table, "MODULE:QUALNAME" = ["attn"]'
        )
    targets = []
    for name, captures in value.items():
        if not isinstance(captures, list) or not all(isinstance(capture, str) for capture in captures):
            raise CaptureError(f'{where}: {name!r} is {captures!r}: write a list of strings, ["attn", "q"]')
        targets.append(f"{name}={','.join(captures)}" if captures else name)
    return tuple(targets)


def _read_edits(where: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise CaptureError(f'{where} is {value!r}: write a list of strings, ["mymodel:f=attn=zero()"]')


def _read_text(where: str, value: object) -> str:
    if isinstance(value, str) and "\0" not in value:
        return value
    raise CaptureError(f"{where} is {value!r}: write a string" + (" without NUL" if isinstance(value, str) else ""))


def _read_texts(where: str, value: object) -> str | tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return tuple(value)
    return _read_text(where, value)


def _read_size(where: str, value: object) -> str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return str(value)
    raise CaptureError(f'{where} is {value!r}: write a number of bytes or a string such as "2GB"')


def _read_bool(where: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise CaptureError(f"{where} is {value!r}: write true or false")


def _or_table(reader: Callable[[str, object], object]) -> Callable[[str, object], object]:
    """A setting for all values, or a table from patterns to settings."""

    def read(where: str, value: object) -> object:
        if isinstance(value, dict):
            return {pattern: reader(f"{where}: {pattern!r}", one) for pattern, one in value.items()}
        return reader(where, value)

    return read


_READERS: dict[str, Callable[[str, object], object]] = {
    "targets": _read_targets,
    "store": _read_text,
    "limit": _read_size,
    "device": _or_table(_read_text),
    "dtype": _or_table(_read_text),
    "strict": _read_bool,
    "copy": _or_table(_read_bool),
    "reduce": _or_table(_read_text),
    "grad": _or_table(_read_bool),
    "layers": _or_table(_read_texts),
    "edits": _read_edits,
}
