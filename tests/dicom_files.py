"""Writes CT as DICOM: classic series, slice by slice, with the geometry of any grid."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
NOBODY = "1.2.826.0.1.3680043.8.498."  # pydicom's own root


def uid(*words) -> str:
    return generate_uid(entropy_srcs=[str(word) for word in words])


def slice_dataset(stored, position, orientation, spacing, *, number=1, series="1", **elements):
    """Return a CT Image of stored int16 (rows, columns) with a rescale intercept of -1024."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CT_IMAGE
    instance = uid(series, number, elements.get("AcquisitionNumber"), stored.sum())
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = instance
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.StudyInstanceUID = uid("study")
    dataset.SeriesInstanceUID = uid("series", series)
    dataset.FrameOfReferenceUID = uid("frame")
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientID = dataset.PatientName = "Nobody^"
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
    dataset.PatientBirthDate = dataset.PatientSex = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.ImagePositionPatient = [f"{v:.9g}" for v in position]
    dataset.ImageOrientationPatient = [f"{v:.9g}" for v in orientation]
    dataset.PixelSpacing = [f"{v:.9g}" for v in spacing]
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    dataset.RescaleType = "HU"
    dataset.PixelData = np.ascontiguousarray(stored, "<i2").tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def write_series(folder: Path, hu, affine, *, names=None, **elements) -> list[Path]:
    """Write int16 HU (slices, rows, columns) whose affine maps (slice, row, column) to LPS mm."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.asarray(affine, float)
    row_spacing, column_spacing = np.linalg.norm(affine[:3, 1:3], axis=0)
    orientation = [*(affine[:3, 2] / column_spacing), *(affine[:3, 1] / row_spacing)]
    elements.setdefault("SliceThickness", f"{np.linalg.norm(affine[:3, 0]):.9g}")
    paths = []
    for i, image in enumerate(hu):
        position = affine[:3, 3] + i * affine[:3, 0]
        dataset = slice_dataset(
            image.astype(np.int16) + 1024,
            position,
            orientation,
            (row_spacing, column_spacing),
            number=i + 1,
            **elements,
        )
        paths.append(folder / (names[i] if names else f"{i:04d}.dcm"))
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def with_raw_values(paths, **values) -> None:
    """Set elements of files to values that pydicom may take for invalid."""
    with pydicom.config.disable_value_validation():
        for path in paths:
            dataset = pydicom.dcmread(path)
            for name, value in values.items():
                if value is None:
                    del dataset[name]
                else:
                    dataset[name] = DataElement(name, dictionary_VR(name), value)
            dataset.save_as(path)


def dciodvfy_errors(path) -> list[str]:
    """Return the errors of the validator of dicom3tools; skip the test where it is missing."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy of dicom3tools")
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def main() -> None:
    """Write the volume of a file as a DICOM series: python dicom_files.py SCAN FOLDER."""
    import sys

    import pleura

    scan = pleura.read(sys.argv[1])
    order = scan.geometry.to_canonical()
    write_series(Path(sys.argv[2]), order.apply(scan.hu()), order.apply_to(scan.geometry).affine)


if __name__ == "__main__":
    main()
