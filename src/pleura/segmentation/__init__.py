"""Segmentation of one scan: inference, postprocessing and quality flags."""
