"""All code that depends on torch: tensors and modules, compiler, checkpoints, transforms and fused attention."""
