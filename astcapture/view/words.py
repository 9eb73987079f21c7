"""Tokens as a reader would write them: marks of byte-level BPE, SentencePiece and WordPiece become spaces and lines.

Right-to-left text stays in the order in which it is stored; the page lays it out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

#: ``[CLS]``, ``<s>``, ``</s>``, ``<|endoftext|>``, ``<start_of_turn>``; not ``<0x0A>``, which is a byte.
_SPECIAL = re.compile(r"\[[A-Za-z_]+\d*\]|</?[A-Za-z_][\w-]*>|<\|.*\|>|<[|｜].*[|｜]>")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
#: What has no glyph of its own, as a sign. Spaces alone are shown too; between words they stay spaces.
_SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍", "\0": "␀"}


class Words(NamedTuple):
    """Tokens for the page.

    Attributes:
        raw: as they were given.
        shown: as a reader would write them. A space that a token begins with is kept, so that the tokens joined
            are the text.
        special: the indices of the tokens that are no text, such as ``[CLS]``.
    """

    raw: list[str]
    shown: list[str]
    special: list[int]


def words_of(tokens: Sequence[str]) -> Words:
    """Return tokens with their readable forms.

    >>> words_of(["[CLS]", "un", "##able", "to", "[SEP]"]).shown
    ['[CLS]', 'un', 'able', ' to', '[SEP]']
    >>> words_of(["<s>", "▁a", "▁cat", "<0x0A>"]).shown
    ['<s>', ' a', ' cat', '↵']
    >>> words_of(["The", "Ġcaf", "Ã©", "Ċ"]).shown
    ['The', ' caf', 'é', '↵']
    """
    raw = [str(token) for token in tokens]
    special = [number for number, token in enumerate(raw) if _SPECIAL.fullmatch(token)]
    texts = [token for number, token in enumerate(raw) if number not in set(special)]
    if any("▁" in token for token in texts):
        read = _sentence_piece
    elif any(token.endswith("</w>") for token in texts):
        read = _end_of_word
    elif any("Ġ" in token or "Ċ" in token for token in texts):
        read = _byte_level
    elif any(token.startswith("##") and len(token) > 2 for token in texts):
        read = _word_piece
    else:
        read = _as_it_is
    shown = list(raw)
    first = True
    for number, token in enumerate(raw):
        if number in set(special):
            first = True
            continue
        shown[number] = _visible(read(token, first))
        first = False
    return Words(raw, shown, special)


def _as_it_is(token: str, first: bool) -> str:
    return token


def _sentence_piece(token: str, first: bool) -> str:
    found = _BYTE.fullmatch(token)
    if found:
        byte = int(found[1], 16)
        return chr(byte) if byte < 0x80 else f"\\x{byte:02x}"
    return token.replace("▁", " ")


def _end_of_word(token: str, first: bool) -> str:
    return token.removesuffix("</w>") + " " * token.endswith("</w>")


def _word_piece(token: str, first: bool) -> str:
    if token.startswith("##") and len(token) > 2:
        return token[2:]
    # Marks such as commas follow the word before.
    return token if first or not token[:1].isalnum() else f" {token}"


def _byte_level(token: str, first: bool) -> str:
    try:
        data = bytes(_BYTES[character] for character in token)
    except KeyError:
        return token.replace("Ġ", " ").replace("Ċ", "\n")
    # A character may be spread over several tokens.
    return data.decode("utf-8", "backslashreplace")


def _bytes_of_gpt2() -> dict[str, int]:
    """The table of byte-level BPE: printable bytes are themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + number): byte for number, byte in enumerate(others)}


_BYTES = _bytes_of_gpt2()


def _visible(text: str) -> str:
    if text and not text.strip(" "):
        return "␣" * len(text)
    return "".join(map(_sign, text))


def _sign(character: str) -> str:
    # Marks that join letters or turn the direction of writing are part of a text.
    if character in _SIGNS or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"):
        return _SIGNS.get(character, character)
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
