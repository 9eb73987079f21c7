"""What is computed from attention and feature maps before it is drawn: array functions that know nothing of drawing.

Each takes tensors, arrays or `Records` of one value, and returns a NumPy array.
"""

from astcapture.plot.formulas.activation import attention_map, grad_cam
from astcapture.plot.formulas.distance import mean_distance, patch_centres
from astcapture.plot.formulas.entropy import entropy
from astcapture.plot.formulas.rollout import Fusion, rollout
from astcapture.plot.formulas.steps import join_steps
from astcapture.plot.formulas.windows import join_windows

__all__ = [
    "Fusion",
    "attention_map",
    "entropy",
    "grad_cam",
    "join_steps",
    "join_windows",
    "mean_distance",
    "patch_centres",
    "rollout",
]
