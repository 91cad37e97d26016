"""CT in DICOM files: headers, series, pixels."""
