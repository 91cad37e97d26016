"""Compare masks with references: metrics per case, statistics over cases, calibration."""
