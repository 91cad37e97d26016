"""Intensity: gray levels, their units, and their conversion to HU."""
