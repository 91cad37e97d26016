"""Inference with model files, without PyTorch."""
