"""Decides which hook's options apply at a site.

The hook with the closest target sets all options: a target that names the label wins over one that names the function,
and that over one that names the module. Among equals, the newest hook wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from astcapture.record.options import PLAIN, Conversion, Conversions, Place, matches
from astcapture.targets.target import Target

_Site = tuple[str, str, str, int] | tuple[str, str, str, int, int]


@dataclass(frozen=True, eq=False)
class OneModel:
    """Restricts a hook to the values of one model.

    Attributes:
        takes: tests the layer and the model of a value; it gets None for a value outside any module.
        in_block: whether the values are for one `with` block alone, which has its own cache for them.
    """

    takes: Callable[[Place | None], bool]
    in_block: bool


# The targets and options of each hook, the oldest first, and the model that it is restricted to.
_asked: dict[object, tuple[Sequence[Target], Conversions, OneModel | None]] = {}
# Of a value of another model than the blocks are for, and of one that is recorded where no block is open.
_OTHER_MODEL = Conversion(models=(lambda where: False,))
_NOBODY = Conversion(models=())
# The options of every hook that was ever installed, for the report at exit.
_ever: list[Conversions] = []
# The options of the sites seen so far.
_known: dict[_Site, Conversion | None] = {}
# For each function and label, whether it is asked for in blocks alone.
_in_blocks: dict[tuple[str, str, str], bool] = {}
# For each function and label, some of the layers that `layers` excluded, and some of the other models that ran.
_passed_over: dict[tuple[str, str, str], dict[str | None, None]] = {}
_other_models: dict[tuple[str, str, str], dict[str, None]] = {}
# What had been left out before a hook for one model was installed.
_noted_before: dict[object, dict[tuple[str, str, str], dict[str | None, None]]] = {}
#: At most this many are named.
_NAMED = 3


def add(hook: object, targets: Sequence[Target], conversions: Conversions, one_model: OneModel | None = None) -> None:
    """Apply a hook's options to what its targets name, until it is removed."""
    # Patterns are compiled now: `re` and `fnmatch` may be captured themselves, and come back where a value is taken.
    for target in targets:
        target.matches_module("")
        target.matches_function("")
    conversions.of("", "", "")
    _asked[hook] = targets, conversions, one_model
    if one_model is not None:
        _noted_before[hook] = {site: dict(layers) for site, layers in _passed_over.items()}
    if conversions.patterns:
        _ever.append(conversions)
    _forget_sites()


def remove(hook: object) -> None:
    _asked.pop(hook, None)
    if hook in _noted_before:
        # What was left out for this model is no reason for what comes after.
        _other_models.clear()
        _passed_over.clear()
        _passed_over.update(_noted_before.pop(hook))
    _forget_sites()


def _forget_sites() -> None:
    _known.clear()
    _in_blocks.clear()


def recipe_of(module: str, qualname: str) -> str:
    """The recipe that names a function; empty if another target names it too."""
    found = ""
    for targets, _, _ in list(_asked.values()):
        for target in targets:
            if target.means(module, qualname):
                if not target.recipe:
                    return ""
                found = target.recipe
    return found


def plain() -> bool:
    """Whether no hook has options."""
    return all(conversions.plain and one_model is None for _, conversions, one_model in _asked.values())


def conversion_of(site: _Site, where: Place | None = None, blocks: Sequence[OneModel] = ()) -> Conversion:
    """How a value is recorded.

    Args:
        site: where it is recorded.
        where: its layer and model.
        blocks: the open blocks of the thread or task, the innermost first. The first that asks for the value decides;
            other hooks decide where none does, and blocks of other threads have no say.
    """
    left_out = None
    for targets, conversions, one_model in (_of_block(block) for block in blocks):
        if one_model.takes(where) and any(_closeness(target, *site[:3]) for target in targets):
            found = conversions.of(*site[:3])
            if found.takes(where):
                return found
            left_out = left_out or found
    if site not in _known:
        _known[site] = _look_up(*site[:3])
    known = _known[site]
    if known is None:
        return left_out or (_OTHER_MODEL if blocks else _NOBODY)
    return known


def _of_block(block: OneModel) -> tuple[Sequence[Target], Conversions, OneModel]:
    return next(
        ((targets, conversions, block) for targets, conversions, one in list(_asked.values()) if one is block),
        ((), Conversions({}), block),
    )


def _look_up(module: str, qualname: str, label: str) -> Conversion | None:
    """The options of the hooks that are not for one block; None where only hooks for blocks name the site."""
    best, chosen = 0, PLAIN
    models: list[OneModel | None] = []
    in_blocks = False
    for targets, conversions, one_model in list(_asked.values()):
        closeness = max((_closeness(target, module, qualname, label) for target in targets), default=0)
        if one_model is not None and one_model.in_block:
            in_blocks = in_blocks or bool(closeness)
            continue
        if closeness:
            models.append(one_model)
        if closeness and closeness >= best:
            best, chosen = closeness, conversions.of(module, qualname, label)
    if in_blocks and asked_in_blocks_alone((module, qualname, label, 0)):
        return None
    if models and None not in models:
        chosen = replace(chosen, models=tuple(one.takes for one in models if one is not None))
    return chosen


def asked_in_blocks_alone(site: _Site) -> bool:
    """Whether the values of a site are asked for inside of blocks for one model, and by no other hook.

    A target that names no more than its module stands for the marked functions there, which no recipe names.
    """
    known = _in_blocks.get(site[:3])
    if known is None:
        module, qualname, label = site[:3]
        inside = outside = of_recipe = False
        by_module = False
        for targets, _, one_model in list(_asked.values()):
            for target in targets:
                # That an execution begins has no label.
                closeness = _closeness(target, module, qualname, label or _any_label(target))
                of_recipe = of_recipe or (bool(closeness) and bool(target.recipe))
                if one_model is not None and one_model.in_block:
                    inside = inside or bool(closeness)
                elif closeness == 1:
                    by_module = True
                else:
                    outside = outside or bool(closeness)
        known = _in_blocks[site[:3]] = inside and not outside and (of_recipe or not by_module)
    return known


def _any_label(target: Target) -> str:
    return target.captures[0].label if target.captures else ""


def any_block() -> bool:
    """Whether a hook for one block is installed."""
    return any(one_model is not None and one_model.in_block for _, _, one_model in _asked.values())


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


def pass_over(site: _Site, where: Place | None, how: Conversion) -> None:
    """Note that a value is not recorded, because its layer or its model is not selected by these options."""
    if not how.takes_model(where):
        models = _other_models.setdefault(site[:3], {}) if how.models and where is not None else None
        if models is not None and where is not None and len(models) <= _NAMED:
            models[where[1]] = None
        return
    layers = _passed_over.setdefault(site[:3], {})
    if len(layers) <= _NAMED:
        layers[None if where is None else where[0]] = None


def passed_over(module: str, qualname: str, label: str) -> list[str | None]:
    """Some layers that ran and that `layers` does not select; None means outside any module."""
    return list(_passed_over.get((module, qualname, label), ()))


def other_models(module: str, qualname: str, label: str) -> list[str]:
    """Some models that ran and whose values nobody asked for."""
    return list(_other_models.get((module, qualname, label), ()))


def unmatched(captured: Iterable[tuple[str, str, str]]) -> list[str]:
    """One line for each pattern of a hook that matches no captured module, qualname and label."""
    known = list(captured)
    return [
        f"{option}={{{pattern!r}: ...}} matched nothing that was captured: "
        'write a pattern as "MODULE:QUALNAME=LABEL", "MODULE:QUALNAME" or "LABEL"'
        for option, pattern in dict.fromkeys(pair for conversions in _ever for pair in conversions.patterns)
        if known and not any(matches(pattern, *one) for one in known)
    ]
