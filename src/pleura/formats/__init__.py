"""File formats: finding, reading and writing scans and label maps."""
