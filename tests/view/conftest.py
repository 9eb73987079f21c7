"""A browser and a page by hand for the tests of the viewer; they need neither torch nor matplotlib."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from astcapture.view.page import page

WEB = Path(__file__).parent / "web"
sys.path.insert(0, str(Path(__file__).parent))  # `unpacked` is what the tests read files with


@pytest.fixture(scope="session")
def fixture_maker() -> ModuleType:
    """`make_fixture.py`, which writes pages by the format without the package's builder."""
    spec = importlib.util.spec_from_file_location("make_fixture", WEB / "make_fixture.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_fixture"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fixture_page(fixture_maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The page's path, and the values that went in."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    meta, raw, values = fixture_maker.make()
    # The data by hand; the code as the package puts it into a file.
    fixture_maker.write(path, meta, raw, page().code)
    return path, values


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium of the system; nothing is downloaded."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file. At the end the console has been silent, and nothing was asked of any network."""
    contexts = []
    heard: list[str] = []

    def open_(path: Path, fragment: str = "", *, size: tuple[int, int] = (1600, 900), **options: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        page.on(
            "request", lambda one: one.url.startswith(("file:", "data:", "blob:")) or heard.append(f"asks {one.url}")
        )
        page.goto(path.as_uri() + (f"#{fragment}" if fragment else ""))
        page.evaluate("astcapture.ready")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert heard == []
