"""The recipes that ship with the package: targets for other people's libraries, by name, read from a data file."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from astcapture.errors import CaptureError

_FILE = os.path.join(os.path.dirname(__file__), "recipes.toml")
SIGN = "@"


@dataclass(frozen=True)
class Recipe:
    """What a target ``@NAME`` stands for.

    Attributes:
        name: without the ``@``.
        library: the package whose functions the targets name, as it is imported.
        versions: those of the library that the targets were checked with.
        captures: what comes out, in one line.
        targets: ``MODULE:QUALNAME=CAPTURES``, as they would be given to ``install``.
        note: what the user has to do or to know.
    """

    name: str
    library: str
    versions: tuple[str, ...]
    captures: str
    targets: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class WeightsShape:
    """The locals of a function that hold the shape of its attention weights where it calls torch's kernel.

    Attributes:
        names: those of ``batch, heads, queries, keys``, of whether there is a batch, and of the sinks that the function
            adds to the softmax after the call; None where nothing is said, so that the kernel's arguments decide.
        unfused: the name of the function that makes the weights where the kernel is not called, if any.
    """

    names: tuple[str | None, ...]
    unfused: str | None = None


_AXES = ("batch", "heads", "queries", "keys", "batched", "sinks")


@cache
def weights_shapes() -> dict[str, WeightsShape]:
    """The functions whose weights have another shape than what the kernel is given suggests, as ``MODULE:QUALNAME``."""
    return {
        entry["function"]: WeightsShape(tuple(map(entry.get, _AXES)), entry.get("unfused"))
        for entry in _data()["shape"]
    }


def reached_through(function: str) -> str | None:
    """The name that a model's code mentions where it reaches a function of a recipe through something else.

    None where it mentions the function itself, as a global of its module.
    """
    return next((entry["through"] for entry in _data()["reached"] if entry["function"] == function), None)


@cache
def _data() -> dict[str, Any]:
    # Imported here: most processes name no recipe.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with open(_FILE, "rb") as file:
        data: dict[str, Any] = tomllib.load(file)
    return data


@cache
def recipes() -> tuple[Recipe, ...]:
    """All recipes, in the order of the data file.

    >>> "hf-attention-eager" in [recipe.name for recipe in recipes()]
    True
    """
    return tuple(
        Recipe(
            name=entry["name"],
            library=entry["library"],
            versions=tuple(entry["versions"]),
            captures=entry["captures"],
            targets=tuple(entry["targets"]),
            note=entry["note"].strip(),
        )
        for entry in _data()["recipe"]
    )


def recipe(name: str) -> Recipe:
    """The recipe of that name, written with or without its ``@``.

    Raises:
        CaptureError: there is none; with the closest names.

    >>> recipe("@torch-mha").targets
    ('torch.nn.functional:multi_head_attention_forward=weights@sdpa',)
    """
    wanted = name.strip().removeprefix(SIGN)
    for one in recipes():
        if one.name == wanted:
            return one
    names = [one.name for one in recipes()]
    close = [one for one in names if wanted and one.startswith(wanted)] or difflib.get_close_matches(wanted, names)
    mend = "did you mean " + " or ".join(SIGN + one for one in close) if close else "astcapture recipes lists them"
    raise CaptureError(f"there is no recipe {SIGN}{wanted}: {mend}")
