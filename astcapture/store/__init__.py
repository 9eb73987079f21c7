"""Captured values on disk: how a shard is written, in the background, and how it is read. Knows of no cache."""
