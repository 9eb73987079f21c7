"""Decides which hook's options apply at a site.

The hook with the closest target sets all options: a target that names the label wins over one that names the function,
and that over one that names the module. Among equals, the newest hook wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from astcapture.record.options import PLAIN, Conversion, Conversions, matches
from astcapture.targets.target import Target

_Site = tuple[str, str, str, int]

# The targets and options of each hook, the oldest first.
_asked: dict[object, tuple[Sequence[Target], Conversions]] = {}
# The options of every hook that was ever installed, for the report at exit.
_ever: list[Conversions] = []
# The options of the sites seen so far.
_known: dict[_Site, Conversion] = {}
# For each function and label, some of the layers that `layers` excluded.
_passed_over: dict[tuple[str, str, str], dict[str | None, None]] = {}
#: At most this many are named.
_NAMED = 4


def add(hook: object, targets: Sequence[Target], conversions: Conversions) -> None:
    """Apply a hook's options to what its targets name, until it is removed."""
    # Patterns are compiled now: `re` and `fnmatch` may be captured themselves, and come back where a value is taken.
    for target in targets:
        target.matches_module("")
        target.matches_function("")
    conversions.of("", "", "")
    _asked[hook] = targets, conversions
    if conversions.patterns:
        _ever.append(conversions)
    _known.clear()


def remove(hook: object) -> None:
    _asked.pop(hook, None)
    _known.clear()


def recipe_of(module: str, qualname: str) -> str:
    """The recipe that names a function; empty if another target names it too."""
    found = ""
    for targets, _ in list(_asked.values()):
        for target in targets:
            if target.matches_module(module) and (target.qualname is None or target.matches_function(qualname)):
                if not target.recipe:
                    return ""
                found = target.recipe
    return found


def plain() -> bool:
    """Whether no hook has options."""
    return all(conversions.plain for _, conversions in _asked.values())


def conversion_of(site: _Site) -> Conversion:
    """How the values of a site are recorded."""
    known = _known.get(site)
    if known is None:
        known = _known[site] = _look_up(*site[:3])
    return known


def _look_up(module: str, qualname: str, label: str) -> Conversion:
    best, chosen = 0, PLAIN
    for targets, conversions in list(_asked.values()):
        closeness = max((_closeness(target, module, qualname, label) for target in targets), default=0)
        if closeness and closeness >= best:
            best, chosen = closeness, conversions.of(module, qualname, label)
    return chosen


def _closeness(target: Target, module: str, qualname: str, label: str) -> int:
    """How closely a target names a label: 3 itself, 2 its function, 1 its module, 0 not at all."""
    if not target.matches_module(module):
        return 0
    if target.qualname is None:
        return 1
    if not target.matches_function(qualname):
        return 0
    if not target.captures:
        return 2
    labels = {capture.label for capture in target.captures}
    return 3 if label in labels else 2 if "*" in labels else 0


def pass_over(site: _Site, where: tuple[str, str] | None) -> None:
    """Note that a value is not recorded because `layers` does not select its layer."""
    layers = _passed_over.setdefault(site[:3], {})
    if len(layers) < _NAMED:
        layers[None if where is None else where[0]] = None


def passed_over(module: str, qualname: str, label: str) -> list[str | None]:
    """Some layers that ran and that `layers` does not select; None means outside any module."""
    return list(_passed_over.get((module, qualname, label), ()))


def unmatched(captured: Iterable[tuple[str, str, str]]) -> list[str]:
    """One line for each pattern of a hook that matches no captured module, qualname and label."""
    known = list(captured)
    return [
        f"{option}={{{pattern!r}: ...}} matched nothing that was captured: "
        'write a pattern as "MODULE:QUALNAME=LABEL", "MODULE:QUALNAME" or "LABEL"'
        for option, pattern in dict.fromkeys(pair for conversions in _ever for pair in conversions.patterns)
        if known and not any(matches(pattern, *one) for one in known)
    ]
