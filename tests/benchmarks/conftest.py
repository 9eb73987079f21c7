import sys
from pathlib import Path

# Benchmarks are run by hand; the arithmetic of what they print is tested here.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
