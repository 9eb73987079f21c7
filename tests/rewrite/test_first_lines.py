"""The line on which a statement starts to run, by `lines`, is the one that the compiler's code has first."""

from __future__ import annotations

import ast
import dis
import sys
from textwrap import indent

import pytest

from astcapture.rewrite.lines import first_line_of

#: Of each, every part that can stand on a line of its own does.
STATEMENTS = [
    "x = (\n  a\n  +\n  b)",
    "x = (\n  1\n  +\n  2)",
    "x = (\n  1\n  +\n  a)",
    "x = (\n  (\n    1,\n    2)\n  +\n  a)",
    "x = (\n  (\n    1)\n  +\n  2)",
    "x = (\n  (\n    1)\n  +\n  a)",
    "x = (\n  (\n    a)\n  +\n  1)",
    "x = (\n  -\n  a)",
    "x = (\n  -\n  1)",
    "x = (\n  not\n  a)",
    "x = (\n  a\n  if\n  b\n  else\n  c)",
    "x = (\n  a\n  and\n  b\n  or\n  c)",
    "x = (\n  a\n  <\n  b\n  <\n  c)",
    "x = (\n  a\n  .\n  b)",
    "x = (\n  a\n  [\n  b])",
    "x = (\n  a\n  [\n  b:\n  c])",
    "x = (\n  y\n  :=\n  a)",
    "x = (\n  lambda:\n  a)",
    "x = (\n  yield\n  )",
    "x = (\n  yield\n  a)",
    "x = (\n  yield\n  from\n  a)",
    "x = [\n  y\n  for y in\n  a]",
    "x = {\n  y\n  for y in\n  a}",
    "x = {\n  y:\n  1\n  for y in\n  a}",
    "x = (\n  y\n  for y in\n  a)",
    # Calls.
    "x = (\n  f\n  )(\n  a)",
    "x = (\n  (\n    f\n    .\n    g\n    )(\n    a)\n  .\n  h)",
    "x = (\n  f\n  .\n  g\n  )(\n  a,\n  b=c)",
    "x = (\n  f\n  .\n  g\n  )(\n  *\n  a)",
    "x = (\n  f\n  .\n  g\n  )(\n  **\n  a)",
    "x = (\n  f\n  )(\n  *\n  a)",
    "x = (\n  f\n  [\n  0]\n  )(\n  a)",
    "x = (\n  (\n    f\n    if\n    a\n    else\n    g)\n  )(\n  a)",
    *(
        f"x = (\n  (\n    a\n    if\n    b\n    else\n    c)\n  .\n  g\n  )(\n{arguments})"
        for arguments in ("  d", "  *d", "  **d", "  *d, e=c", "  d, **d", "  d, e=c")
    ),
    # Displays.
    "x = (\n  )",
    "x = [\n  ]",
    "x = {\n  }",
    "x = (\n  a,\n  b)",
    "x = [\n  a,\n  b]",
    "x = {\n  a,\n  b}",
    "x = (\n  1,\n  2)",
    "x = [\n  1,\n  2]",
    "x = [\n  1,\n  2,\n  3]",
    "x = [\n  1,\n  2,\n  a]",
    "x = {\n  1,\n  2,\n  3}",
    "x = [\n  -\n  1,\n  (\n    2,\n  ),\n  3]",
    "x = [\n  *\n  a,\n  b]",
    "x = [\n  a,\n  *\n  b]",
    "x = [\n  [\n    ],\n  b]",
    "x = {\n  a:\n  b}",
    "x = {\n  1:\n  b}",
    "x = {\n  1:\n  b,\n  2:\n  c}",
    "x = {\n  1:\n  b,\n  a:\n  c}",
    "x = {\n  **\n  a,\n  b:\n  c}",
    "x = {\n  a:\n  b,\n  **\n  c}",
    "x = {\n  1:\n  b,\n  2:\n  c,\n  **\n  d}",
    # Texts.
    "x = (\n  f'{a}'\n  f'{b}')",
    "x = (\n  'text'\n  f'{a}')",
    "x = (\n  f''\n  )",
    "x = (\n  'text %s'\n  %\n  a)",
    "x = (\n  'text %s'\n  %\n  (\n    a,))",
    "x = (\n  '%s text'\n  %\n  (\n    a,))",
    "x = (\n  '%5.2s %-3r %% %a'\n  %\n  (\n    a,\n    b,\n    c))",
    "x = (\n  '''%s\n%%'''\n  %\n  (\n    a,))",
    "x = (\n  '%d'\n  %\n  (\n    a,))",
    "x = (\n  '%100s'\n  %\n  (\n    a,))",
    "x = (\n  '%s'\n  %\n  (\n    1,))",
    "x = (\n  '%s'\n  %\n  (\n    *\n    a,))",
    "x = (\n  'none'\n  %\n  (\n    ))",
    "x = (\n  b'%s'\n  %\n  (\n    a,))",
    "x = (\n  '%s'\n  %\n  (\n    a,\n    b))",
    "x = (\n  'none'\n  %\n  (\n    a,))",
    "x = (\n  (\n    '%s'\n    %\n    (\n      1,))\n  +\n  a)",
    "x = (\n  not\n  1)",
    "x = (\n  -\n  None)",
    "x = (\n  -\n  (\n    -\n    1))",
    "x = (\n  (\n    -\n    's'),\n  a)",
    "return (\n  'none'\n  %\n  (\n    ))",
    "x = (\n  '%s'\n  *\n  (\n    a))",
    "x = (\n  a\n  %\n  (\n    b,))",
    # Statements.
    "f(\n  a)",
    "x += (\n  a)",
    "(\n  a\n  .\n  b) += (\n  c)",
    "(\n  a\n  [\n  b]) += (\n  c)",
    "x: int = (\n  a)",
    "return (\n  a)",
    "del (\n  a\n  )",
    "del (\n  a\n  .\n  b), c",
    "del (\n  a\n  [\n  b])",
    "del (\n  a,\n  b)",
    "assert (\n  a)",
    "raise (\n  a)",
    "raise",
    "import os",
    "pass",
    "if (\n  a\n  ): pass",
    "while (\n  a\n  ): pass",
    "for x in (\n  a\n  ): pass",
    "for x in [\n  a,\n  b]: pass",
    "for x in [\n  1,\n  2]: pass",
    "for x in {\n  1,\n  2}: pass",
    "for x in (\n  1,\n  2): pass",
    "for x in [\n  1,\n  a]: pass",
    "with (\n  a\n  ) as b: pass",
    "with (\n  a\n  ), (\n  b\n  ): pass",
    "match (\n  a\n  ):\n  case 1: pass",
    "try:\n  a\nexcept b: pass",
    "def g(): pass",
    "def g(\n  a=\n  b): pass",
    "def g(\n  a=\n  1): pass",
    "def g(\n  a=\n  1,\n  b=\n  2): pass",
    "def g(\n  a=\n  1,\n  b=\n  c): pass",
    "def g(\n  a=\n  1,\n  *,\n  b=\n  c): pass",
    "def g(\n  a=\n  b,\n  *,\n  d=\n  c): pass",
    "@(\n  a\n  )\ndef g(\n  *,\n  b=\n  c): pass",
    "def g(\n  *,\n  a=\n  b): pass",
    "def g(\n  *,\n  a,\n  b=\n  c): pass",
    "@(\n  a\n  )\ndef g(\n  b=\n  c): pass",
    "@(\n  a\n  )\n@(\n  b\n  )\nasync def g(): pass",
    "@(\n  a\n  )\nclass C(\n  b): pass",
    "class C(\n  b): pass",
]
ASYNCHRONOUS = [
    "x = (\n  await\n  a)",
    "async for x in (\n  a\n  ): pass",
    "async for x in [\n  1]: pass",
    "async with (\n  a\n  ): pass",
    "x = [\n  y\n  async for y in\n  a]",
]


if sys.version_info >= (3, 12):
    STATEMENTS += ["type x = (\n  a)", "def g[\n  T](\n  a=\n  b): pass", "class C[\n  T](\n  b): pass"]
if sys.version_info >= (3, 14):
    STATEMENTS += [
        "x = (\n  t'{a}'\n  t'{b}')",
        "x = (\n  t'text'\n  t'{a}')",
        "x = (\n  t''\n  )",
        "x = (\n  t'''{\n  a}'''\n  )",
    ]


def display(many: int, *, ends: str, part: str = "a") -> str:
    return f"x = {ends[0]}\n" + "".join(f"  {part},\n" for _ in range(many)) + ends[1]


# Around the length from which the compiler builds them up from an empty one.
LONG = [
    *(display(many, ends=ends) for many in (29, 30, 31, 32) for ends in ("()", "[]", "{}")),
    *(display(many, ends="{}", part="a:\n  b") for many in (14, 15, 16, 17)),
    *(display(many, ends="{}", part="1:\n  b") for many in (14, 15, 16, 17)),
    *("x = (\n  f\n  )(\n" + "  a,\n" * many + ")" for many in (29, 30, 31)),
    *("x = (\n  f\n  .\n  g\n  )(\n" + "  a,\n" * many + ")" for many in (28, 29, 30, 31)),
    *("x = (\n  f\n  .\n  g\n  )(\n" + "  a,\n" * many + "  b=c)" for many in (28, 29, 30)),
    *("x = (\n" + "  f'{a}'\n" * many + ")" for many in (29, 30, 31, 32)),
    *("x = (\n  '" + "%s" * many + "'\n  %\n  (\n" + "    a,\n" * many + "))" for many in (29, 30, 31)),
    *("x = (\n  '" + "%s_" * many + "'\n  %\n  (\n" + "    a,\n" * many + "))" for many in (14, 15, 16)),
    *(
        "x = (\n  (\n    a\n    if\n    b\n    else\n    c)\n  .\n  g\n  )(\n" + "  a,\n" * many + ")"
        for many in (28, 29, 30, 31)
    ),
    *(
        "x = (\n  (\n    a\n    if\n    b\n    else\n    c)\n  .\n  g\n  )(\n" + "  a,\n" * many + "  e=c)"
        for many in (27, 28, 29, 30)
    ),
    *("x = (\n  '" + "%s%%s" * many + "'\n  %\n  (\n" + "    a,\n" * many + "))" for many in (14, 15, 16)),
    *("x = (\n  '" + "%s%%" * many + "'\n  %\n  (\n" + "    a,\n" * many + "))" for many in (14, 15, 16)),
]


def first_of_code(function: str) -> int:
    """The first line of the only function in a text that has an instruction, its header's left aside."""
    (code,) = (one for one in compile(function, "<text>", "exec").co_consts if hasattr(one, "co_code"))
    return next(line for _, line in dis.findlinestarts(code) if line is not None and line > 1)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("statement", [*STATEMENTS, *LONG])
def test_a_statement_starts_on_the_line_of_its_first_instruction(statement: str):
    function = "def h(a, b, c, d, f):\n" + indent(statement, "    ")
    assert first_line_of(ast.parse(function).body[0].body[0]) == first_of_code(function)


@pytest.mark.parametrize("statement", ASYNCHRONOUS)
def test_a_statement_that_waits_starts_on_the_line_of_its_first_instruction(statement: str):
    function = "async def h(a):\n" + indent(statement, "    ")
    assert first_line_of(ast.parse(function).body[0].body[0]) == first_of_code(function)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="syntax of Python 3.11")
def test_a_try_of_groups_starts_on_its_own_line():
    function = "def h(a):\n    try:\n        a\n    except* OSError: pass"
    assert first_line_of(ast.parse(function).body[0].body[0]) == first_of_code(function) == 2
