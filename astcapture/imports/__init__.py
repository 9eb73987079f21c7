"""How a rewritten tree gets into an import, and into a process."""
