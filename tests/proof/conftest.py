import sys
from pathlib import Path

# The harnesses that are run by hand; a sample of what each of them does is tested here.
sys.path.insert(0, str(Path(__file__).parents[2] / "proof"))
