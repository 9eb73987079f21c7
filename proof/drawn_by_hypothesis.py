"""Programs that hypothesis draws, and cuts down where captured they differ.

    python proof/drawn_by_hypothesis.py programs 2000        # run plainly and captured, as by `differential`
    python proof/drawn_by_hypothesis.py grammar 1000         # compiled plainly and captured, as by `worlds_code`

The programs are those of `differential`, each of whose decisions is hypothesis' own. The others are any source that
Python's grammar admits: hypothesmith draws them, which has to be installed for it.
"""

from __future__ import annotations

import argparse
import random
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from typing import Any

from differential import Totals, check
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from wider_programs import WiderProgram
from worlds_code import CAPTURES, compare_source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=["programs", "grammar"])
    parser.add_argument("number", type=int)
    options = parser.parse_args()
    began = time.monotonic()
    told = run_programs(options.number) if options.kind == "programs" else compile_any(options.number)
    print(f"Python {sys.version.split()[0]}: {told}, none different, {time.monotonic() - began:.0f} s")


def run_programs(number: int, derandomize: bool = False) -> str:
    """Run so many programs plainly and captured.

    Raises:
        Difference: one differs; it is the least that hypothesis has found.
    """
    totals = Totals()

    def same(chance: random.Random, seed: int) -> None:
        check(seed, WiderProgram(chance, newest=True), totals)

    _drawn(number, derandomize, st.randoms(use_true_random=False), st.integers(0, 1000))(same)()
    return f"{totals.programs} programs, {totals.runs} runs, {totals.returns} returns compared with a trace function"


def compile_any(number: int) -> str:
    """Compile so many sources plainly and captured.

    Raises:
        AssertionError: one differs; it is the least that hypothesis has found.
    """
    import hypothesmith

    functions = 0

    def same(source: str, at: str) -> None:
        nonlocal functions
        # What is drawn seldom has a function with locals, so it is made the body of one.
        source = f"async def f(a, *b):\n    c = a\n{textwrap.indent(source, '    ')}\n    return c\n"
        told = compare_source(source.encode(), "drawn.py", at)
        assume(told["status"] == "compared")
        functions += told["captured"]
        assert not told["differences"], f"{told['differences']}\n{source}"

    sources = st.one_of(hypothesmith.from_node(), hypothesmith.from_grammar())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _drawn(number, False, sources, st.sampled_from(sorted(CAPTURES)))(same)()
    return f"{number} sources, {functions} functions captured"


def _drawn(number: int, derandomize: bool, *strategies: Any) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """What draws so many arguments for a function, without a bound of time or a memory of earlier runs."""
    asked = settings(
        max_examples=number,
        deadline=None,
        database=None,
        derandomize=derandomize,
        suppress_health_check=list(HealthCheck),
    )
    return lambda function: asked(given(*strategies)(function))


if __name__ == "__main__":
    main()
