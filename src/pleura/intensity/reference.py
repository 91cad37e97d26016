"""Reference intensities of CT in HU: tissues, padding values, and common offsets."""

from __future__ import annotations

AIR, FAT, MUSCLE = -1000.0, -105.0, 45.0
"""HU of air, and of the two peaks of soft tissue."""

SOFT_TISSUE = (FAT + MUSCLE) / 2

PADDING = (-3024, -2048, -2000, -32768)
"""Padding values of scanners, outside the field of view; -1024 is too close to air."""

OFFSETS = (1024.0, 1000.0, 8192.0, 32768.0, -1024.0)
"""Offsets of files in which the rescale intercept was omitted or applied twice."""

ASSUMED_WINDOW = -1024.0, 600.0
"""HU of the darkest and the brightest grey value where nothing else is known."""
