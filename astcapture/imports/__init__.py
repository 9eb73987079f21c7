"""Gets rewritten code into imports and into running processes."""
