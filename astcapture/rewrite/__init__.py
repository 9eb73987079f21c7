"""The rewriter: takes a syntax tree and a plan, returns a syntax tree. It reads no files and has no state."""
