"""What the tests of the two tables in docs/compatibility.md share: the page itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `compatibility_page` is read while tests are collected
