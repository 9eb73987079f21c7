"""Messages about the arguments of functions, in the options of the command line."""

from __future__ import annotations

import re

_OPTIONS = "area|batch|cls|grid|head|image|patch|patch_size|query|stretch|style|tokens|without"
_NAMED = rf"(?<![\w.(])({_OPTIONS})="
#: In this order: what a call is written like, and what the command line has in its place.
_REWRITTEN = (
    (r"stretch=True", "--stretch"),
    (r"area=\(left, top, right, bottom\)", "--area LEFT TOP RIGHT BOTTOM"),
    (r"it is \(left, top, right, bottom\)", "it is LEFT TOP RIGHT BOTTOM"),
    (r"area=\(([^)]*)\)", lambda found: f"--area {found[1].replace(',', '')}"),
    (r"grid=\(rows, columns\), and cls= the number", "--grid ROWSxCOLUMNS, and --cls N for the number"),
    (r"grid=\((\d+), (\d+)\)", r"--grid \1x\2"),
    (r"patch=\((\d+), (\d+)\)", r"--patch \1,\2"),
    (r"pass one of these numbers", "pick one by its number"),
    # How values are selected; what the command line cannot select is left to Python.
    (r"pick one, records\[('[^']*')\]", r"pick one with --label \1"),
    (r"records\.select\((call|layer|model)=([^)]*)\)", r"--\1 \2"),
    (r"pick one, records\.select\(key='([^']*)'\)", r"pick one with --function '\1'"),
    (r"pick one, (records\.select)", r"pick one in Python with \1"),
    (r"some layers by select\(layer=\.\.\.\)", "some layers by --layer"),
    (r"pass (list\(records\)|a list of the values)", r"pass \1 in Python"),
    (
        r"A decoding step and cross attention are drawn by .*",
        "--kind head, heads and layers draw a decoding step and cross attention",
    ),
)


def as_options(message: str, kind: str) -> str:
    """Write ``batch=0`` as the command line does, ``--batch 0``.

    >>> as_options("batch=2 is outside: pass image=, or grid=(2, 3)", "cls")
    '--batch 2 is outside: pass --image, or --grid 2x3'
    """
    if kind != "tokens" and "do not form a square of patches" in message:
        message += "; if they are words, --kind tokens draws them"
    for written, option in _REWRITTEN:
        message = re.sub(written, option, message)
    message = re.sub(_NAMED + r"(?=[\w'\"\[(-])", lambda found: f"--{_spelled(found[1])} ", message)
    return re.sub(_NAMED, lambda found: f"--{_spelled(found[1])}", message)


def _spelled(name: str) -> str:
    return name.replace("_", "-")
