"""The steps of a generation loop as one map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from astcapture.plot.arrays import FloatArray, Plottable, as_array
from astcapture.plot.one_execution import check_if_steps
from astcapture.values.records import Records

_CUT = "Cut the maps of a static cache or a sliding window to these keys first"


def join_steps(steps: Sequence[Plottable]) -> FloatArray:
    """Put the steps of a generation loop together to one map: each step adds its queries below.

    With a cache of keys and values, the prompt attends from all its tokens, (prompt, prompt), and each step from the
    new token alone to itself and all before: (1, prompt + 1), (1, prompt + 2), and so on. The result is the map that
    one forward of the whole text would have.

    Generate greedily or by sampling, not by beam search (``num_beams=4``): beam search reorders the batch between two
    steps, so that rows of different hypotheses would be joined. The maps do not show this, and there is no error.

    Args:
        steps: one array for each step, (queries, keys), (heads, queries, keys) or (batch, heads, queries, keys), in
            their order: a list, or `Records` of the calls of one layer.

    Returns:
        (..., queries, keys), float32 or float64, with the queries of all steps and the keys of the last. Zero where a
        key came after the query. If the steps begin later than the text, the rows of the queries before are left
        out: (1, 4) and (1, 5) make (2, 5).

    Raises:
        CaptureError: `Records` of several layers, functions, labels, models or processes.
        ValueError: no step, another shape, or steps whose keys do not grow by their queries, such as several texts.

    >>> join_steps([np.ones((2, 2)), np.full((1, 3), 0.5)]).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5, 0.5]]
    """
    check_if_steps(steps)
    maps = [as_array(step) for step in steps]
    if not maps:
        raise ValueError("join_steps of no steps: there is nothing to put together")
    for number, one in enumerate(maps):
        if one.ndim not in (2, 3, 4) or one.shape[:-2] != maps[0].shape[:-2]:
            raise ValueError(
                f"step {number} has shape {one.shape} and step 0 {maps[0].shape}; accepted are (queries, keys), "
                "(heads, queries, keys) and (batch, heads, queries, keys), of as many heads and examples in each step"
            )
    sizes = [(one.shape[-2], one.shape[-1]) for one in maps]
    fault = growth_fault(sizes)
    if fault is not None:
        queries, keys = sizes[fault]
        before = sizes[fault - 1][1] if fault else 0
        what = f"has {queries} queries and {keys} keys, after {before} keys in the step before"
        if fault and (queries == keys or keys < before):
            raise ValueError(_of_a_new_text(steps, fault, what, whole=queries == keys, grows=keys > before))
        raise ValueError(
            f"step {fault} {what}: a step has the keys of the step before and one for each of its queries. {_CUT}"
        )
    # Of a loop whose first step was left out, the queries before are not known.
    unknown = sizes[0][1] - sizes[0][0]
    keys = sizes[-1][1]
    whole = np.zeros((*maps[0].shape[:-2], keys - unknown, keys), dtype=np.result_type(*maps))
    for one, (queries, to) in zip(maps, sizes, strict=True):
        whole[..., to - queries - unknown : to - unknown, :to] = one
    return whole


def _of_a_new_text(steps: Sequence[Plottable], fault: int, what: str, *, whole: bool, grows: bool) -> str:
    """Say where a new text begins, or what else it may be, and how to have the steps of one text.

    `whole`: the step has as many queries as keys; `grows`: it has more keys than the step before.
    """
    calls = [record.call for record in steps.records] if isinstance(steps, Records) else [None]
    known = [call for call in calls if call is not None]
    if len(known) < len(calls):
        where, select = f"step {fault}", f"join the steps of one text, steps[:{fault}]"
    else:
        where, select = f"call {known[fault]}", f"select the calls of one text, select(call={_listed(known[:fault])})"
    begins = f"{where} {what}: a new text begins at {where}"
    if whole and not grows:
        return f"{begins}; {select}"
    if whole:
        return f"{begins}; {select}. Or the model keeps no cache: then the last step alone is the map of the whole text"
    return f"{begins}, or the keys are a window; {select}. {_CUT}"


def _listed(calls: Sequence[int]) -> str:
    """Write calls as Python does: a list, or a range where they are many.

    >>> _listed([0, 1]), _listed([0, 1, 2, 3, 4, 5])
    ('[0, 1]', 'range(0, 6)')
    """
    every = range(calls[0], calls[-1] + 1)
    return str(every) if len(calls) > 4 and list(calls) == list(every) else str(list(calls))


def growth_fault(sizes: Sequence[tuple[int, int]]) -> int | None:
    """Return the first step, of (queries, keys), that does not add its queries to the keys before; None where all do.

    >>> growth_fault([(2, 2), (1, 3)]), growth_fault([(2, 2), (2, 2)])
    (None, 1)
    """
    if sizes[0][0] > sizes[0][1]:
        return 0
    for number, ((_, before), (queries, keys)) in enumerate(pairwise(sizes), start=1):
        if keys != before + queries:
            return number
    return None
