"""Segmentation of one scan to files, and of many scans with threads or a Dask cluster."""
