"""Runs a script as ``python SCRIPT`` does, on a torch without CUDA: see declare_torchvision."""

from __future__ import annotations

import os
import runpy
import sys

import declare_torchvision

if __name__ == "__main__":
    declare_torchvision.declare()
    script = os.path.abspath(sys.argv[1])
    sys.path[0] = os.path.dirname(script)
    runpy.run_path(script, run_name="__main__")
