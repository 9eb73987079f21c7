"""Recipes: targets for other people's libraries under a name, what they expand to, and what is said of them."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner

import astcapture
from astcapture import CaptureError
from astcapture.cli.main import commands, main
from astcapture.imports.modules import find_module
from astcapture.rewrite.plan import plan_module
from astcapture.targets import recipes as registry
from astcapture.targets.marker import POINTS
from astcapture.targets.recipes import Recipe, recipe, recipes
from astcapture.targets.target import parse_target, parse_targets

NAMES = [one.name for one in recipes()]


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe for a library that the tests write."""
    one = Recipe(
        name="zoo",
        library="zoo",
        versions=("1.0", "1.1"),
        captures="weights",
        targets=("zoo.*:attend=weights", "zoo.old:Attention.forward=scores", "zoo.never:f=x"),
        note="",
    )
    monkeypatch.setattr(registry, "recipes", lambda: (one,))
    return one


CAT = """
def attend(x):
    weights = [x]
    return weights
"""
OLD = """
class Attention:
    def forward(self, x):
        scores = x
        return scores
"""


def test_names_are_unique_and_every_entry_is_complete():
    assert len(set(NAMES)) == len(NAMES)
    for one in recipes():
        assert one.targets and one.versions and one.library.isidentifier() and one.captures and one.note
        assert len(set(one.targets)) == len(one.targets)


@pytest.mark.parametrize("name", NAMES)
def test_every_target_is_well_formed_and_says_what_it_captures(name):
    for target in parse_targets(f"@{name}"):
        assert target.qualname and target.captures
        assert all(capture.at in POINTS for capture in target.captures)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_function_is_in_the_installed_library_and_binds_the_names(name):
    one = recipe(name)
    if importlib.util.find_spec(one.library) is None:
        pytest.skip(f"{one.library} is not installed here")
    for text in one.targets:
        target = parse_target(text)
        if not target.exact_module:
            continue  # read by the tests of real models
        if find_module(target.module) is None:
            pytest.fail(f"{text}: there is no such module")
        path = find_module(target.module).origin
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        assert plan_module(tree, target.module, path, [target]).functions, text  # or an error that says what is missing


def test_a_recipe_expands_to_targets_that_say_where_they_come_from(zoo):
    plain, *expanded = parse_targets("mymodel; @zoo")
    assert plain.text == "mymodel" and plain.recipe == ""
    assert [target.module for target in expanded] == ["zoo.*", "zoo.old", "zoo.never"]
    assert {target.recipe for target in expanded} == {"@zoo"}
    assert expanded[1].text == "@zoo (zoo.old:Attention.forward=scores)"
    assert parse_targets(["@zoo"]) == parse_targets({"@zoo": []}) == tuple(expanded)


def test_where_one_target_is_wanted_a_recipe_of_several_is_refused(zoo):
    with pytest.raises(CaptureError) as error:
        parse_target("@zoo")
    assert str(error.value) == (
        "target '@zoo': the recipe has 3 targets, and one is needed here: astcapture recipes zoo lists them"
    )


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("hf-atention-eager", "did you mean @hf-attention-eager or @hf-attention"),
        ("timm", "did you mean @timm-attention"),
        ("nonsense", "astcapture recipes lists them"),
        ("", "astcapture recipes lists them"),
    ],
)
def test_an_unknown_recipe_is_an_error_with_the_closest_names(name, mend):
    with pytest.raises(CaptureError) as error:
        astcapture.install(f"@{name}")
    text = f"@{name}"
    assert str(error.value) == f"target {text!r}: there is no recipe {text}: {mend}\n    {text}\n    ^"


def test_what_a_recipe_names_is_captured(zoo, make_package, fresh_imports):
    make_package({"zoo/__init__.py": "", "zoo/cat.py": CAT, "zoo/old.py": OLD})
    with astcapture.install("@zoo"):
        from zoo import cat, old

        cat.attend(1)
        old.Attention().forward(2)
    assert list(astcapture.cache["attend"]) == [[1]]
    assert list(astcapture.cache["Attention.forward"]["scores"]) == [2]


def test_a_library_in_which_a_name_is_gone_is_imported_and_the_summary_says_so(zoo, make_package, fresh_imports):
    make_package({"zoo/__init__.py": "", "zoo/cat.py": CAT, "zoo/old.py": OLD.replace("scores", "maps")})
    with astcapture.install("@zoo"):
        from zoo import cat, old

        cat.attend(1)
        assert old.Attention().forward(2) == 2
    assert "zoo.old:Attention.forward: skipped, it does not bind 'scores'" in str(astcapture.cache.summary())


REPORT = """
import astcapture
from astcapture.targets import recipes as registry
from astcapture.targets.recipes import Recipe
targets = ("zoo.*:attend=weights", "zoo.old:Attention.forward=scores", "zoo.never:f=x")
one = Recipe(name="zoo", library="zoo", versions=("1.0", "1.1"), captures="weights", targets=targets, note="")
registry.recipes = lambda: (one,)
astcapture.install("@zoo")
"""
GONE = "no function in zoo.{} matches it; the recipe was tested with zoo 1.0, 1.1"


@pytest.mark.parametrize(
    ("imports", "said"),
    [
        ("import zoo.cat", []),
        ("import zoo.cat, zoo.old", [f"target '@zoo (zoo.old:Attention.forward=scores)': {GONE.format('old')}"]),
        ("import zoo.dog", [f"target '@zoo': {GONE.format('dog')}"]),
        ("", ["target '@zoo': none of its modules was imported"]),
    ],
)
def test_at_exit_a_recipe_is_reported_only_for_what_was_imported(imports, said, make_package, run_python):
    files = {"zoo/__init__.py": "", "zoo/cat.py": CAT, "zoo/dog.py": "", "zoo/old.py": "def gone(): pass\n"}
    make_package({**files, "main.py": REPORT + imports + "\n"})
    errors = run_python("main.py").stderr
    assert [line.strip() for line in errors.splitlines() if line.startswith("  target")] == said


def test_the_command_lists_every_recipe_with_its_library_and_versions():
    done = CliRunner().invoke(commands, ["recipes"])
    lines = done.output.splitlines()
    assert done.exit_code == 0 and lines[0].split() == ["name", "library", "versions", "captures"]
    for line, one in zip(lines[2:], recipes(), strict=True):
        assert line.split()[:3] == [f"@{one.name}", one.library, ", ".join(one.versions)]
        assert line.endswith(one.captures)


@pytest.mark.parametrize("name", ["torch-mha", "@torch-mha"])
def test_the_command_prints_the_targets_of_one_recipe_and_its_note(name):
    output = CliRunner().invoke(commands, ["recipes", name]).output
    assert "\ntorch.nn.functional:multi_head_attention_forward=" in output
    assert " ".join(recipe(name).note.split()) in " ".join(output.split())


def test_the_command_fails_in_one_line_for_a_recipe_that_there_is_not(capsys):
    assert main(["recipes", "torch-mah"]) == 1
    assert capsys.readouterr().err == "astcapture: there is no recipe @torch-mah: did you mean @torch-mha\n"


def test_a_hook_names_its_recipe_and_not_all_of_its_targets():
    with astcapture.install(["@torchvision-attention", "mymodel"]) as hook:
        assert repr(hook) == "<Hook: @torchvision-attention; mymodel>"
