"""Network architectures in PyTorch, one per module, without input or output."""
