"""Tokens of every kind of tokenizer are shown as a reader would write them."""

from __future__ import annotations

import pytest

from astcapture.view.words import words_of


@pytest.mark.parametrize(
    ("tokens", "shown", "special"),
    [
        (["<|endoftext|>", "The", "Ġcaf", "Ã©", "Ġis", "Ċ", "Ċ", "ĠĠ"],
         ["<|endoftext|>", "The", " caf", "é", " is", "↵", "↵", "␣␣"], [0]),
        (["<s>", "▁The", "▁cat", "s", "<0x0A>", "<0xF0>", "▁", "</s>"],
         ["<s>", " The", " cat", "s", "↵", "\\xf0", "␣", "</s>"], [0, 7]),
        (["[CLS]", "un", "##believ", "##able", ",", "is", "##n", "'", "t", "[SEP]", "two", "[PAD]"],
         ["[CLS]", "un", "believ", "able", ",", " is", "n", "'", " t", "[SEP]", "two", "[PAD]"], [0, 9, 11]),
        (["<|startoftext|>", "a</w>", "pho", "to</w>", "<|endoftext|>"],
         ["<|startoftext|>", "a ", "pho", "to ", "<|endoftext|>"], [0, 4]),
        (["Ġ×©", "×ľ", "×ķ", "×Ŀ"], [" ש", "ל", "ו", "ם"], []),
        (["ðŁ", "ĺ", "Ģ", "Ġa"], ["\\xf0\\x9f", "\\x98", "\\x80", " a"], []),
        (["a b", "\t", "x\ny", "", "##", "#"], ["a b", "⇥", "x↵y", "", "##", "#"], []),
        (["<start_of_turn>", "user", "<unk>", "<0x41>", "[MASK]", "[a b]", "a<b>"],
         ["<start_of_turn>", "user", "<unk>", "<0x41>", "[MASK]", "[a b]", "a<b>"], [0, 2, 4]),
        ([], [], []),
    ],
    ids=["byte-level BPE", "SentencePiece", "WordPiece", "CLIP", "Hebrew in bytes", "an emoji in parts", "plain",
         "special tokens", "none"],
)  # fmt: skip
def test_tokens_are_shown_as_a_reader_would_write_them(tokens, shown, special):
    found = words_of(tokens)
    assert (found.raw, found.shown, found.special) == (tokens, shown, special)
