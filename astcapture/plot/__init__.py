"""How attention maps are drawn, with matplotlib.

Every function takes torch tensors (any device, any float type), NumPy arrays or `Records` of one
value, returns the `Axes` or the `Figure`, and never calls `show()`.
"""

from astcapture.plot.head_grid import heads
from astcapture.plot.head_map import head
from astcapture.plot.patch_map import patch_to_patch

__all__ = ["head", "heads", "patch_to_patch"]
