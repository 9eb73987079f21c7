"""docs/models.md tells what the tables of these tests tell, and they are as large as it says."""

from __future__ import annotations

from architectures import ARCHITECTURES
from models_page import PAGE, captured, page


def test_the_page_is_what_the_tables_make_of_it():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/models/models_page.py"


def test_at_least_thirty_architectures_of_every_family_are_captured():
    kinds = {one.kind for one in captured()}
    assert len({one.model_type for one in captured()}) == len(captured()) >= 30
    assert {"encoder", "decoder", "encoder and decoder", "vision", "audio", "multimodal", "mixture of experts"} <= kinds
    assert len({one.model_type for one in ARCHITECTURES}) == len(ARCHITECTURES)
