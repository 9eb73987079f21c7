"""What the user asks for from outside the source: ``MODULE[:QUALNAME[=CAPTURES]]``, or a recipe, ``@NAME``."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from astcapture.errors import CaptureError
from astcapture.targets.capture import Capture, located, parse_captures
from astcapture.targets.recipes import SIGN, recipe

_WILDCARDS = re.compile(r"[*?\[]")
_MODULE_PART = re.compile(r"[\w*?\[\]!-]+\Z")
_QUALNAME_PART = re.compile(r"(<locals>|[\w*?\[\]!-]+)\Z")
#: What an error repeats of a target, and says of it, at most.
_LONGEST = 300


@cache
def matcher(pattern: str) -> Callable[[str], object]:
    """Whether a name matches; `fnmatch` forgets compiled patterns where there are many, and all are asked each time."""
    return re.compile(fnmatch.translate(pattern)).match if _WILDCARDS.search(pattern) else pattern.__eq__


@dataclass(frozen=True)
class Target:
    """A module pattern, and optionally a pattern of qualnames in it and what to capture there.

    Without `qualname` it stands for the marked functions of the module and of its submodules;
    with `qualname` and no `captures`, for what the marker says of those functions. `recipe` is the
    ``@NAME`` that it comes from, if any: the user did not name this function, so the one recipe can
    serve several versions of a library, and what is gone from this one stops no import.
    """

    module: str
    qualname: str | None = None
    captures: tuple[Capture, ...] = ()
    text: str = ""
    recipe: str = ""

    @property
    def exact_module(self) -> bool:
        """Whether the user named one module, so that a miss in it is an error."""
        return not self.recipe and not _WILDCARDS.search(self.module)

    @property
    def exact(self) -> bool:
        """Whether it names one function, so that a miss is an error rather than one of many left alone."""
        return self.exact_module and self.qualname is not None and not _WILDCARDS.search(self.qualname)

    def matches_module(self, module: str) -> bool:
        """Whether functions of `module` can be meant; a plain module stands for its submodules too."""
        matches = matcher(self.module)
        if self.qualname is not None:
            return bool(matches(module))
        while module:
            if matches(module):
                return True
            module = module.rpartition(".")[0]
        return False

    def matches_function(self, qualname: str) -> bool:
        return self.qualname is not None and bool(matcher(self.qualname)(qualname))

    def means(self, module: str, qualname: str) -> bool:
        """Whether the target can mean this function; one without a qualname can mean every function of its module."""
        return self.matches_module(module) and (self.qualname is None or self.matches_function(qualname))

    def __str__(self) -> str:
        return self.text

    def __hash__(self) -> int:
        # A recipe is many targets, and they are hashed at every import.
        return hash(self.text)


TargetsLike = str | Iterable[str] | Mapping[str, str | Sequence[str]]


def parse_targets(targets: TargetsLike) -> tuple[Target, ...]:
    """Read targets as the user writes them: one string, several, or a mapping to lists of captures.

    Raises:
        CaptureError: a target that is not of the form; the message quotes it and points at the place.

    >>> [target.module for target in parse_targets("mymodel; timm.layers:Attention.forward=attn")]
    ['mymodel', 'timm.layers']
    >>> parse_targets({"m:f": ["a", "b:=self.b"]})[0].captures[1].expression
    'self.b'
    """
    if isinstance(targets, str):
        return _expand(text for text in re.split(r"[;\n]", targets) if text.strip())
    if isinstance(targets, Mapping):
        return _expand(_joined(name, captures) for name, captures in targets.items())
    return _expand(_listed(targets))


def _expand(texts: Iterable[object]) -> tuple[Target, ...]:
    """Read each target, and a recipe as all the targets that it stands for."""
    parsed: list[Target] = []
    for text in texts:
        if not isinstance(text, str):
            raise CaptureError(f'a target is a string, not {text!r}: write install(["mymodel"])')
        parsed.extend(_read(text))
    return tuple(parsed)


def _listed(targets: object) -> Iterable[object]:
    if not isinstance(targets, Iterable) or isinstance(targets, bytes):
        raise CaptureError(f'targets are strings, not {targets!r}: write install(["mymodel"])')
    return targets


def _joined(name: str, captures: str | Sequence[str]) -> str:
    listed = [captures] if isinstance(captures, str) else captures
    if not isinstance(listed, Sequence) or not all(isinstance(capture, str) for capture in listed):
        raise CaptureError(f'target {name!r}: captures are a list of strings, not {captures!r}: write ["attn"]')
    return f"{name}={','.join(listed)}" if listed else name


def parse_target(text: str) -> Target:
    """Read one target.

    Raises:
        CaptureError: it is not of the form, or a recipe of several targets.

    >>> parse_target("timm.layers.*:Attention.forward=attn@assign").captures[0].at
    'assign'
    """
    targets = _read(text)
    if len(targets) > 1:
        name = targets[0].recipe
        raise CaptureError(
            f"target {name!r}: the recipe has {len(targets)} targets, and one is needed here: "
            f"astcapture recipes {name.removeprefix(SIGN)} lists them"
        )
    return targets[0]


def _read(text: str) -> tuple[Target, ...]:
    text = text.strip()
    try:
        return _parse_recipe(text) if text.startswith(SIGN) else (_parse(text),)
    except CaptureError as error:
        offset: int = getattr(error, "offset", 0)
        # Control characters would reach the terminal from the line that is repeated as it is.
        pointed = f"\n    {text}\n    {' ' * offset}^" if text.isprintable() and len(text) <= _LONGEST else ""
        raise CaptureError(f"target {_shortened(repr(text))}: {_shortened(str(error))}{pointed}") from None


def _shortened(text: str) -> str:
    return text if len(text) <= 2 * _LONGEST else f"{text[:_LONGEST]} … {text[-_LONGEST:]}"


def _parse_recipe(text: str) -> tuple[Target, ...]:
    name, equals, _ = text.partition("=")
    if equals:
        mend = f"a recipe already names what it captures: write {name.strip()}"
        raise located(CaptureError(mend), len(name))
    return tuple(replace(_parse(target), text=f"{text} ({target})", recipe=text) for target in recipe(text).targets)


def _parse(text: str) -> Target:
    module, colon, rest = text.partition(":")
    _check_module(module, bool(colon))
    if not colon:
        return Target(module, text=text)
    qualname, equals, captures = rest.partition("=")
    qualname = qualname.strip()
    start = len(module) + 1
    if not qualname:
        raise located(CaptureError("no function after ':': write MODULE:Class.method=name"), start)
    for part in qualname.split("."):
        if not _QUALNAME_PART.match(part):
            raise located(CaptureError(f"{qualname!r} is not a qualname: write MODULE:Class.method=name"), start)
    if not equals:
        return Target(module, qualname, text=text)
    start += len(rest.partition("=")[0]) + 1
    if not captures.strip():
        raise located(CaptureError("no name after '=': write MODULE:QUALNAME=name,name"), start)
    try:
        return Target(module, qualname, parse_captures(captures), text)
    except CaptureError as error:
        raise located(error, start) from None


def _check_module(module: str, colon: bool) -> None:
    if not module:
        raise CaptureError("no module before ':'" if colon else "the target is empty: write the name of a module")
    if "=" in module:
        name, _, captures = module.partition("=")
        raise located(CaptureError(f"names belong to a function: write {_with_colon(name)}={captures}"), len(name))
    if "/" in module or "\\" in module or module.endswith(".py"):
        name = re.sub(r"\.py$", "", module).strip("./\\").replace("/", ".").replace("\\", ".")
        raise CaptureError(f"a target is a module name, not a file: write {name}")
    offset = 0
    for part in module.split("."):
        if not part:
            raise located(CaptureError(f"there is an empty name next to a dot in {module!r}"), offset)
        if not _MODULE_PART.match(part):
            raise located(CaptureError(f"{part!r} is not a module name"), offset)
        offset += len(part) + 1


def _with_colon(name: str) -> str:
    """A dotted name as it was probably meant: classes begin with a capital, and a function stands last."""
    parts = name.split(".")
    first = next((index for index, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    if len(parts) == 1:
        return f"MODULE:{name}" if name[:1].isupper() else f"{name}:FUNCTION"
    return f"{'.'.join(parts[:first]) or 'MODULE'}:{'.'.join(parts[first:])}"
