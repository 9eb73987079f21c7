"""The gallery: its code runs, what it says of the pictures is so, and one command draws them all."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from run_example import EXAMPLES, run
from transformers import AutoModel, AutoTokenizer

import astcapture
from astcapture import plot

sys.path.append(str(EXAMPLES.parent / "tests" / "view"))  # `unpacked` reads the viewer's files

from unpacked import opened

pytestmark = pytest.mark.slow

DOCS = EXAMPLES.parent / "docs"
SENTENCE = "The cat that chased the mice was tired."
PAGE = (DOCS / "gallery.md").read_text(encoding="utf-8")


def run_block(name: str, **names: Any) -> dict[str, Any]:
    """Run a block of the page, and return its names. It must draw one figure."""
    (block,) = re.findall(rf"<!-- run: {name} -->\n```python\n(.*?)```", PAGE, re.S)
    names |= {"astcapture": astcapture, "plot": plot}
    before = plt.get_fignums()
    exec(compile(block, "gallery.md", "exec"), names)
    assert len(plt.get_fignums()) == len(before) + 1
    plt.close("all")
    return names


def test_the_words_of_minilm_attend_as_the_page_says(minilm: str) -> None:
    model = AutoModel.from_pretrained(minilm).eval()
    names = run_block("minilm", model=model, tokenizer=AutoTokenizer.from_pretrained(minilm))
    words, maps = names["words"][1:-1], names["maps"]
    assert len(maps) == 6

    def attends_to(layer: int, word: str) -> list[str]:
        weights = maps[layer][0].mean(0)[1:-1, 1:-1][words.index(word)]
        return [words[int(index)] for index in weights.argsort(descending=True)]

    assert attends_to(2, "was")[0] == "tired"
    assert attends_to(2, "that")[0] == "cat"
    assert [attends_to(layer, "tired")[0] for layer in (0, 1, 2)] == ["was"] * 3
    assert attends_to(5, "tired")[:2] == ["tired", "mice"]
    word_before = maps[0][0, 2].diagonal(offset=-1)
    assert word_before[1:-1].min() > 0.9
    assert all(maps[layer][0, :, :, 0].mean() > 0.25 for layer in range(1, 5))


def test_the_photograph_is_drawn_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    example = importlib.import_module("vit_photo")
    example.write(tmp_path / "out" / "dinov2-small")
    shutil.copyfile(example.package_folder("skimage") / "data" / "chelsea.png", "cat.png")
    names = run_block("photo", AutoModel=AutoModel, photograph=example.photograph, to_input=example.to_input)
    assert [value.shape for value in names["maps"]] == [(1, 6, 1025, 1025)] * 12


def test_one_command_draws_the_pictures_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    draws = importlib.import_module("draw_pictures").PICTURES
    drawn = {picture for pictures in draws.values() for picture in pictures.values()}
    shown = set(re.findall(r"\]\(pictures/([^)]+)\)", PAGE))
    of_readme = set(
        re.findall(r"\]\(docs/pictures/([^)]+)\)", (EXAMPLES.parent / "README.md").read_text(encoding="utf-8"))
    )
    home = (DOCS / "index.md").read_text(encoding="utf-8")
    of_home = set(re.findall(r"\]\(pictures/([^)]+)\)", home))
    live = {name for name in drawn if name.endswith(".html")}
    assert live == set(re.findall(r"\]\(live/([^)#]+)", PAGE))
    assert shown <= drawn - live <= shown | of_readme | of_home
    assert all((DOCS / ("live" if name in live else "pictures") / name).exists() for name in drawn)


def test_the_file_of_minilm_holds_what_the_library_itself_returns(minilm: str) -> None:
    file = opened(DOCS / "live" / "minilm.html")
    model = AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()
    inputs = AutoTokenizer.from_pretrained(minilm)(SENTENCE, return_tensors="pt")
    with torch.no_grad():
        returned = model(**inputs, output_attentions=True).attentions
    (series,) = file.meta["series"]
    assert len(series["items"]) == len(returned) == 6
    for item in series["items"]:
        for head in range(12):
            difference = abs(file.values(item, head) - returned[item["layer"]][0, head].numpy())
            assert difference.max() < item["maps"][head]["error"] + 1e-4


@pytest.mark.long
def test_a_small_llama_learns_to_repeat_and_its_heads_are_found(tmp_path: Path) -> None:
    done = run("repeat_words.py", folder=tmp_path)
    assert "generated: red fox jumps over a small old dog in cold rain ." in done.stdout
    (series,) = opened(tmp_path / "out" / "repeat_words.html").meta["series"]
    induction = {item["layer"]: max(item["stats"]["induction"]) for item in series["items"]}
    assert induction[1] > 0.8 > 0.3 > induction[0]
