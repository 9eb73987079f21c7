"""What the pages of the reference say is what the package says."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from written_pages import DOCS, PAGES

import astcapture
from astcapture import edits, plot
from astcapture.errors import CaptureError
from astcapture.targets import environment
from astcapture.targets.capture import SDPA_NAMES
from astcapture.targets.marker import POINTS
from astcapture.targets.target import parse_targets

PACKAGE = Path(astcapture.__file__).parent
FENCE = re.compile(r"<!-- (?P<kind>\w+): (?P<name>[^\n]+) -->\n```\w+\n(?P<text>.*?)```", re.S)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    """What stands between a heading of a page and the next."""
    return page(name).partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their headers."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines]
    return [row for row in cells if set(row[0]) != {"-"}][1:]


def strings() -> str:
    """Every text in the source of the package, with the places where values go left out."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(node.value for node in nodes if isinstance(node.value, str))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_lists_what_is_in_the_package_is_up_to_date(name: str) -> None:
    assert page(name) == PAGES[name](), "run python tests/docs/written_pages.py"


def test_the_transformed_source_on_the_page_is_what_show_makes_of_the_function_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = 0
    for block in FENCE.finditer(page("how-it-works.md")):
        if block["kind"] == "file":
            (tmp_path / block["name"]).write_text(block["text"], encoding="utf-8")
        else:
            assert block["kind"] == "show"
            assert astcapture.show(block["name"]).partition("\n")[2] == block["text"]
            shown += 1
    assert shown == 2
    assert "attend" not in sys.modules


def test_every_form_of_a_target_on_the_page_is_read() -> None:
    forms = [form for form, _ in rows(section("targets.md", "Forms"))]
    assert len(forms) == 23
    for form in forms:
        assert parse_targets(form)


def test_every_mistake_on_the_page_is_an_error_that_says_what_stands_there() -> None:
    mistakes = rows(section("targets.md", "Mistakes in a target"))
    assert len(mistakes) >= 19
    for target, message in mistakes:
        with pytest.raises(CaptureError) as error:
            parse_targets(target)
        assert message in str(error.value)
        assert repr(target) in str(error.value)


@pytest.mark.slow
def test_every_reason_for_an_empty_capture_on_the_page_is_one_that_the_package_gives() -> None:
    given = strings()
    reasons = [reason for reason, _ in rows(section("others-models.md", "Read why something is empty"))]
    assert len(reasons) == 16
    for reason in reasons:
        for words in filter(None, re.split(r"\s*…\s*|:\s", reason)):
            assert words in given, words


def test_the_page_of_targets_names_every_point_and_everything_that_a_call_of_attention_has() -> None:
    points = section("targets.md", "Where a value is taken")
    assert all(f'"{point}"' in points for point in POINTS)
    named = section("targets.md", "Fused attention").partition("What can be named:")[2].partition("- ")[0]
    assert re.findall(r"`(\w+)`", named) == list(SDPA_NAMES)


def test_the_page_of_the_environment_lists_every_variable_that_the_package_reads() -> None:
    read = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"ASTCAPTURE(?:_[A-Z]+)*", path.read_text(encoding="utf-8"))
    }
    # Spelled with the key in `read_environment`.
    read |= {f"ASTCAPTURE_{key.upper()}" for key in ("store", "limit", "device", "dtype", "layers")}
    listed = {name for name, _ in rows(section("environment.md", "Variables"))}
    assert listed == read - {"ASTCAPTURE_FIRST_PROCESS"}


def test_the_page_of_the_environment_lists_every_key_and_its_example_is_read(tmp_path: Path) -> None:
    keys = [key for key, _ in rows(section("environment.md", "Keys of the TOML file"))]
    assert keys == list(environment._READERS)
    config = tmp_path / "capture.toml"
    config.write_text(page("environment.md").partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    settings = environment.read_environment({"ASTCAPTURE_CONFIG": str(config)})
    assert len(parse_targets(settings.targets)) == 2
    assert settings.options["dtype"]["weights"] == "bfloat16"


def test_the_pages_of_the_reference_hold_every_public_name() -> None:
    named = set(re.findall(r"^::: astcapture\.(?:imports\.notebook\.)?([\w.]+)$", page("python.md"), re.M))
    ready_made = {name for name in named if name.startswith("edits.")}
    assert named - ready_made == {*astcapture._HOMES, "capture"} - {"cache"}
    assert ready_made == {f"edits.{name}" for name in edits.__all__}
    assert "`astcapture.cache`" in page("python.md")
    drawn = re.findall(r"^::: astcapture\.plot\.([\w.]+)$", page("python-plot.md"), re.M)
    assert {name for name in drawn if "." not in name} == set(plot.__all__) - {"formulas"}


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"([\w-]+\.md)$", navigation.partition("\n\n")[0], re.M)
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_file_that_a_page_points_to_is_there(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#:\s]+)[)#]", text):
        assert (path.parent / target).exists(), target
