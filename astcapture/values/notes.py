"""What a run tells besides its values, in JSON: functions that were declared, and what left no value there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Notes:
    """What is known of a process besides its records.

    Attributes:
        declared: the labels of each function that was rewritten.
        fused: the keys of those that call fused attention too.
        skipped: for each module, functions that a wildcard matched and that do not bind a name, with the name.
        counts: for each function and label: how often it was missed, failed, and the first error.
        refused: for each function and label: how many values could not be stored, and why the first could not.
        recipes: the recipe that each function was captured for, of those that no other target names.
        why: for each function and label without a value, why it has none.
        edits: the edits that were in force, as text: the values are then not the model's own.
        calls: for each function and label that is taken at calls, the lines and the source of those calls.
    """

    declared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fused: set[str] = field(default_factory=set)
    skipped: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    counts: dict[tuple[str, str], tuple[int, int, str | None]] = field(default_factory=dict)
    refused: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    recipes: dict[str, str] = field(default_factory=dict)
    why: dict[tuple[str, str], str] = field(default_factory=dict)
    calls: dict[tuple[str, str], tuple[tuple[int, str], ...]] = field(default_factory=dict)
    edits: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "declared": {key: list(labels) for key, labels in self.declared.items()},
            "fused": sorted(self.fused),
            "skipped": {module: [list(pair) for pair in pairs] for module, pairs in self.skipped.items() if pairs},
            "counts": [[*where, *count] for where, count in self.counts.items()],
            "refused": [[*where, *count] for where, count in self.refused.items()],
            "recipes": self.recipes,
            "why": [[*where, text] for where, text in self.why.items()],
            "calls": [[*where, [list(line) for line in lines]] for where, lines in self.calls.items()],
            "edits": list(self.edits),
        }


def read(plain: Mapping[str, Any]) -> Notes:
    """The notes that `Notes.plain` made this of; none where it is of another shape."""
    try:
        return Notes(
            {key: tuple(map(str, labels)) for key, labels in plain.get("declared", {}).items()},
            set(map(str, plain.get("fused", ()))),
            {
                module: [(str(name), str(missing)) for name, missing in pairs]
                for module, pairs in plain.get("skipped", {}).items()
            },
            {
                (str(key), str(label)): (int(missed), int(failed), None if error is None else str(error))
                for key, label, missed, failed, error in plain.get("counts", ())
            },
            {(str(key), str(label)): (int(count), str(why)) for key, label, count, why in plain.get("refused", ())},
            {str(key): str(recipe) for key, recipe in plain.get("recipes", {}).items()},
            {(str(key), str(label)): str(text) for key, label, text in plain.get("why", ())},
            {
                (str(key), str(label)): tuple((int(line), str(source)) for line, source in lines)
                for key, label, lines in plain.get("calls", ())
            },
            tuple(map(str, plain.get("edits", ()))),
        )
    except (TypeError, ValueError, AttributeError):
        return Notes()


def merge(all_notes: Iterable[Notes]) -> Notes:
    """Those of several processes as one."""
    merged = Notes()
    for one in all_notes:
        for key, labels in one.declared.items():
            merged.declared[key] = tuple(dict.fromkeys((*merged.declared.get(key, ()), *labels)))
        merged.fused |= one.fused
        for module, pairs in one.skipped.items():
            names = merged.skipped.setdefault(module, [])
            names += [pair for pair in pairs if pair not in names]
        for where, (missed, failed, error) in one.counts.items():
            before = merged.counts.get(where, (0, 0, None))
            merged.counts[where] = (before[0] + missed, before[1] + failed, before[2] or error)
        for where, (count, why) in one.refused.items():
            merged.refused[where] = (
                merged.refused.get(where, (0, why))[0] + count,
                merged.refused.get(where, (0, why))[1],
            )
        merged.recipes.update(one.recipes)
        for where, text in one.why.items():
            merged.why.setdefault(where, text)
        merged.calls.update(one.calls)
        merged.edits = tuple(dict.fromkeys((*merged.edits, *one.edits)))
    return merged
