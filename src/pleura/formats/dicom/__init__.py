"""DICOM: CT series are read; Segmentation objects and RT Structure Sets are written."""
