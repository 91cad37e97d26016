"""A model file made to run, without PyTorch."""
