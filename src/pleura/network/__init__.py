"""Architectures in PyTorch, no I/O: each file is one network, read top to bottom."""
