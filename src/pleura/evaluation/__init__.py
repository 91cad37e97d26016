"""How good predictions are: metrics and their tables."""
