"""Corrected masks: saved from the viewer, and made a training set."""
