"""Tests of the pages in docs/ that need nothing beyond the package; the tutorials are run by tests/torch."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `written_pages` writes what the tests compare with
