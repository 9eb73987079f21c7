"""The example that reads sentences with MiniLM: captured from outside, and drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SENTENCES = ["The bank raised its rates.", "The river burst its bank."]


#: Where torch has no CUDA, importing torchvision fails, and transformers imports it where it is installed.
START = (
    "import sys, runpy; sys.path[:0] = [{tests!r}, {examples!r}]; import declare_torchvision; "
    "declare_torchvision.declare(); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
)


def run(script: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    start = START.format(tests=str(Path(__file__).parent), examples=str(EXAMPLES))
    command = [sys.executable, "-c", start, str(EXAMPLES / script), *arguments]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ASTCAPTURE")}
    done = subprocess.run(
        command, cwd=folder, env={**kept, "MPLBACKEND": "Agg", **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_script_holds_no_word_of_astcapture():
    assert "astcapture" not in (EXAMPLES / "minilm_words.py").read_text(encoding="utf-8").lower()


def test_the_environment_captures_it_and_it_prints_the_same(tmp_path):
    plain = run("minilm_words.py", *SENTENCES, folder=tmp_path)
    captured = run("minilm_words.py", *SENTENCES, folder=tmp_path, ASTCAPTURE="@hf-attention-eager")
    assert plain.stdout == captured.stdout != ""
    assert "eager_attention_forward" in captured.stderr and "attn_weights" in captured.stderr
    assert "eager_attention_forward" not in plain.stderr


def test_a_picture_is_drawn_for_each_sentence(tmp_path):
    run("minilm_draw.py", *SENTENCES, "--out", "pictures", folder=tmp_path)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == ["minilm_words_0.png", "minilm_words_1.png"]
    assert all(path.stat().st_size > 10_000 for path in pictures)
