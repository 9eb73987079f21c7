"""What the target of an edit means: one name in a function, at one point."""

from __future__ import annotations

import re
from dataclasses import replace

from astcapture.errors import CaptureError
from astcapture.targets.capture import Capture, split_list
from astcapture.targets.target import Target, parse_target

#: What a fused attention has that can be edited.
OF_ATTENTION = ("query", "key", "value", "output", "weights")
RETURNED = "return"
_AT_RETURN = re.compile(r"(return)?\s*@\s*return\Z")
_POINTS = ("assign", "enter", "call", "input", "sdpa")


def parse_edit_target(text: str) -> Target:
    """Read the target of an edit: ``MODULE:QUALNAME=NAME`` for each binding of a name, or with a point behind it.

    Raises:
        CaptureError: it is not of the form, or names several values.

    >>> parse_edit_target("m:f=attn").captures[0].at
    'assign'
    >>> parse_edit_target("m:f=@return").captures[0].at
    'return'
    """
    function, equals, name = text.partition("=")
    if not equals or not name.strip():
        raise CaptureError(
            f"edit target {text!r} does not say what to edit: write {function.strip()}=NAME, or "
            f"{function.strip()}=@return for what the function returns"
        )
    if _AT_RETURN.match(name.strip()):
        target = parse_target(f"{function}={RETURNED}_")
        return _edited(target, text, Capture(RETURNED, RETURNED, "return", edits=True))
    if len(list(split_list(name))) != 1:
        raise CaptureError(f"edit target {text!r}: one edit changes one value: make an edit for each")
    if name.strip().startswith("@"):
        raise CaptureError(f"edit target {text!r}: no name before {name.strip()}: write NAME{name.strip()}")
    target = parse_target(text)
    (capture,) = target.captures
    if capture.label != capture.expression:
        raise CaptureError(f"edit target {text!r}: an edit has no label: remove {capture.label}:=")
    return _edited(target, text, _checked(capture, text))


def _checked(capture: Capture, text: str) -> Capture:
    name = capture.expression
    if capture.every_local:
        raise CaptureError(f"edit target {text!r}: one edit changes one value: write a name in place of *")
    if capture.at == "return":
        if "@" in text.rpartition("=")[2]:
            raise CaptureError(
                f"edit target {text!r}: at the return an edit changes what the function returns: write @return, or "
                f"{name}@assign for the local"
            )
        if not capture.is_name:
            reason = "is no name: an edit changes a local, a call or a return"
            raise CaptureError(f"edit target {text!r}: {name!r} {reason}")
        capture = replace(capture, at="assign")
    if capture.at not in _POINTS:
        points = ", ".join(_POINTS)
        raise CaptureError(f"edit target {text!r}: nothing is edited @{capture.at}: the points are {points}, return")
    if capture.at == "sdpa" and name not in OF_ATTENTION:
        raise CaptureError(f"edit target {text!r}: of a fused attention {', '.join(OF_ATTENTION)} can be edited")
    return replace(capture, edits=True)


def _edited(target: Target, text: str, capture: Capture) -> Target:
    # Rewritten code depends on the text, and capturing the same name is something else.
    return replace(target, captures=(capture,), text=f"{text.strip()} (edit)")
