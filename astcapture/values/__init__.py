"""Where captured values go, and how they are asked for."""
