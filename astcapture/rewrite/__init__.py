"""The rewriter: a syntax tree and a plan in, a syntax tree out. Nothing here imports, reads a file, or holds state."""
