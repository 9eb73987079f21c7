"""What knows torch: its tensors and modules, its compiler, its checkpoints and transforms, and its fused attention."""
