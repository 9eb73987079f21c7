"""Looks around in captured values: one HTML file out of a stored run, or of what is in memory.

`View` is what ``records.view()``, ``cache.view()`` and ``run.view()`` give.
"""

from astcapture.view.cell import Cell
from astcapture.view.viewer import View

__all__ = ["Cell", "View"]
