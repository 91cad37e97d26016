"""Corrected masks: saved from the viewer, and used to fine-tune a model."""
