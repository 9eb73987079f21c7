"""The example that reads sentences with MiniLM: captured from outside, and drawn."""

from __future__ import annotations

import pytest
from run_example import EXAMPLES, run

SENTENCES = ["The bank raised its rates.", "The river burst its bank."]


def test_the_script_holds_no_word_of_astcapture():
    assert "astcapture" not in (EXAMPLES / "minilm_words.py").read_text(encoding="utf-8").lower()


def test_the_environment_captures_it_and_it_prints_the_same(tmp_path):
    plain = run("minilm_words.py", *SENTENCES, folder=tmp_path)
    captured = run("minilm_words.py", *SENTENCES, folder=tmp_path, ASTCAPTURE="@hf-attention-eager")
    assert plain.stdout == captured.stdout != ""
    assert "eager_attention_forward" in captured.stderr and "attn_weights" in captured.stderr
    assert "eager_attention_forward" not in plain.stderr


@pytest.mark.long
def test_a_picture_is_drawn_for_each_sentence(tmp_path):
    run("minilm_draw.py", *SENTENCES, "--out", "pictures", folder=tmp_path)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == ["minilm_words_0.png", "minilm_words_1.png"]
    assert all(path.stat().st_size > 10_000 for path in pictures)
