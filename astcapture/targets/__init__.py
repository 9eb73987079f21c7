"""What to capture: the marker in the source, and targets that name functions from outside."""
