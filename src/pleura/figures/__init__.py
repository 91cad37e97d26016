"""Figures of scans, masks, predictions and training curves."""
