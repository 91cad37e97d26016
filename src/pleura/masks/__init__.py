"""Masks of scans, and how labels of other tools are interpreted."""
