# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Segment your own DICOM and measure it
#
# This notebook segments the lungs of one CT, checks the mask, measures the lungs, and writes the
# mask for other programs. It needs the base installation of `pleura` only, without PyTorch and
# matplotlib, and takes about half a minute on two CPU cores.
#
# Set the environment variable `PLEURA_SCAN` to your DICOM folder, or to any other CT that `pleura`
# reads (NIfTI, NRRD, MetaImage, a zip file). Without it, the notebook uses the sample scan of the
# package, which it first writes as a DICOM series. Nothing leaves your computer.

# %%
import json
import os
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from PIL import Image

import pleura
from pleura.figures.overlay import overlay
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG

OUTPUT = Path("runs/dicom")
OUTPUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## The sample as a DICOM series
#
# A DICOM series has one file per slice. The position of a slice in the patient is in
# `ImagePositionPatient`, and stored values become Hounsfield units (HU) by `RescaleSlope` and
# `RescaleIntercept`.


# %% tags=["hide-input"]
def write_dicom_series(scan, folder):
    """Write a scan with axial slices, rows to the back and columns to the left, as DICOM."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = (pydicom.uid.generate_uid(entropy_srcs=["sample", k]) for k in "123")
    affine, spacing = scan.geometry.affine, scan.geometry.spacing  # in LPS, mm
    for i, hu in enumerate(scan.hu()):
        image = pydicom.Dataset()
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        image.SOPClassUID = pydicom.uid.CTImageStorage
        image.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["sample", str(i)])
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality = frame, "CT"
        image.PatientName, image.PatientID = "Sample", "SAMPLE"
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
        image.AccessionNumber = image.StudyID = image.ReferringPhysicianName = ""
        image.SeriesNumber, image.InstanceNumber = 1, i + 1
        image.ImagePositionPatient = [round(x, 6) for x in affine[:3, 3] + i * affine[:3, 0]]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.SliceThickness, image.PixelSpacing = spacing[0], [round(x, 6) for x in spacing[1:]]
        image.Rows, image.Columns = hu.shape
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = 0
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        image.PixelData = (hu + 1024).astype("<u2").tobytes()
        image.save_as(folder / f"{i:03}.dcm", enforce_file_format=True)


SCAN = os.environ.get("PLEURA_SCAN", "")
REFERENCE = os.environ.get("PLEURA_REFERENCE", "")  # a mask of your scan, if you have one
if not SCAN:
    sample = pleura.sample_scan()
    SCAN, REFERENCE = OUTPUT / "series", sample.with_name("lungs.nii.gz")
    write_dicom_series(pleura.read(sample), SCAN)

# %% [markdown]
# ## Find and read the scan
#
# `find_scans` reads the headers and lists every series, with the reason if it cannot be read. Of
# several series of one study, one is chosen.

# %%
entries = pleura.find_scans(SCAN)
entries

# %% [markdown]
# `read` returns a `Scan`. Voxels are read when they are needed. The scan displays slices and the
# automatic decisions of reading: here, that the values are Hounsfield units.

# %%
scan = pleura.read(SCAN)
scan

# %%
hu = scan.hu()
print(f"array {hu.shape}, {hu.dtype}, {hu.min()} to {hu.max()} HU")
print("spacing", [round(mm, 2) for mm in scan.geometry.spacing], "mm (slice, row, column)")

# %% [markdown]
# ## Segment the lungs
#
# The mask has the grid of the scan: 1 is the right and 2 the left lung. Orange is the right lung
# and blue the left.

# %%
lungs = pleura.segment(scan)
lungs

# %%
print(lungs)
print("seconds:", {stage: round(seconds, 1) for stage, seconds in lungs.seconds.items()})

# %% [markdown]
# ## Check the mask
#
# Look at slices from base to apex before you use a mask.


# %%
def show_slices(scan, mask, number=6, height=220):
    """Return an image of evenly spaced axial slices with the contours of both lungs."""
    order = scan.geometry.to_canonical()  # axial slices from foot to head
    hu, labels = order.apply(scan.hu()), order.apply(mask.labels)
    inside = np.flatnonzero(labels.any(axis=(1, 2)))
    if not len(inside):
        inside = np.arange(len(hu))
    pictures = []
    for i in inside[np.linspace(0, len(inside) - 1, number).astype(int)]:
        window = (-1000.0, 400.0)
        picture = overlay(hu[i], labels[i] == 1, window, RIGHT_LUNG)
        left = overlay(hu[i], labels[i] == 2, window, LEFT_LUNG)
        picture[labels[i] == 2] = left[labels[i] == 2]
        width = round(height * hu.shape[2] / hu.shape[1])
        pictures.append(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST))
    return Image.fromarray(np.concatenate([np.asarray(p) for p in pictures], axis=1))


show_slices(scan, lungs)

# %% [markdown]
# A **flag** is a reason to check a mask before it is used: lung at the border of the scan, a side
# without lung, low confidence, a contradiction between the image and its header. The sample has
# none. To see one, segment only the lower half of the scan: the lungs are cut off, and a warning
# and a flag report it.

# %%
half = pleura.from_array(hu[: len(hu) // 2], scan.geometry.spacing, orientation="SPL")
cut = pleura.segment(half)
cut.flags

# %% [markdown]
# ## Measure the lungs
#
# Volumes are in millilitres and densities in HU. `LAA-950` is the fraction of voxels below -950
# HU, a measure of emphysema. Measurements have flags of their own: thick slices, for example,
# change densities.

# %%
measurement = pleura.measure(lungs)
measurement

# %% [markdown]
# All values are in `to_dict()`, and one row per slice in a CSV file.

# %%
right, left = measurement.regions[1:]
print(f"right {right.volume_ml:.0f} ml, left {left.volume_ml:.0f} ml")
print(f"mean density {measurement.regions[0].densities.mean:.0f} HU")
(OUTPUT / "measurement.json").write_text(json.dumps(measurement.to_dict(), indent=1))
measurement.write_slices(OUTPUT / "slices.csv")
print(*(OUTPUT / "slices.csv").read_text().splitlines()[:4], sep="\n")

# %% [markdown]
# ## Write the mask
#
# The suffix selects the format. DICOM objects refer to the slices of the series, so they are
# possible only for a scan that was read from DICOM: a Segmentation (SEG) and an RT Structure Set
# (RTSTRUCT).

# %%
names = ["lungs.nii.gz", "lungs.nrrd"]
if scan.format == "DICOM":
    names += ["lungs.dcm", "lungs.rtstruct.dcm"]
for name in names:
    lungs.write(OUTPUT / name)
    print(f"{name:<20}{(OUTPUT / name).stat().st_size / 1024:7.0f} KiB")

# %% [markdown]
# Other software reads the DICOM SEG; here highdicom.

# %%
if scan.format == "DICOM":
    seg = highdicom.seg.segread(OUTPUT / "lungs.dcm")
    for number in seg.segment_numbers:
        segment = seg.get_segment_description(number)
        print(number, segment.segment_label, "-", segment.segmented_property_type.meaning)
    volume = seg.get_volume(combine_segments=True)
    same = np.count_nonzero(volume.array) == np.count_nonzero(lungs.labels)
    print("number of lung voxels equal:", same)
    structures = pydicom.dcmread(OUTPUT / "lungs.rtstruct.dcm")
    print("RTSTRUCT:", [roi.ROIName for roi in structures.StructureSetROISequence])

# %% [markdown]
# ## Compare with a reference
#
# If you have a reference mask, of an expert or of another program, compare the two. Dice and IoU
# measure the overlap; the surface distances are in millimetres. The sample has a reference of
# experts.

# %%
comparison = None
if REFERENCE:
    comparison = pleura.compare(OUTPUT / "lungs.nii.gz", REFERENCE)
comparison

# %% [markdown]
# ## Everything in one step, and many scans
#
# `segment_file` writes all outputs of one scan: the mask, a preview, the scan with air outside the
# lungs, and a report with the measurements.

# %%
outputs = pleura.OutputFiles(
    mask=OUTPUT / "result.nii.gz",
    preview=OUTPUT / "preview.png",
    masked=OUTPUT / "masked.nii.gz",
    report=OUTPUT / "report.json",
    crop=True,
    measure=True,
    overwrite=True,
)
report = pleura.segment_file(SCAN, outputs)
print(pleura.read(OUTPUT / "masked.nii.gz", units="hu"))
Image.open(OUTPUT / "preview.png")

# %% [markdown]
# For a folder of scans, `pleura.segment_cohort(folder, output)` segments each, continues after
# failures, and writes a table of all scans. From the command line:
#
#     pleura segment dicom_folder/ -o lungs.nii.gz --preview
#     pleura segment cohort/ -o out/ --measure

# %% [markdown]
# ## Open the mask in a viewer
#
# * **pleura**: `pleura view dicom_folder/ lungs.nii.gz` opens scan and mask in the browser, where
#   you can correct the mask. It needs `pip install ".[view]"`.
# * **3D Slicer**: import the series and `lungs.dcm` into the DICOM database (extension
#   QuantitativeReporting), or drag `lungs.nii.gz` into the window and choose *Segmentation* as its
#   description.
# * **ITK-SNAP**: *File, Open Main Image* for the scan, *Segmentation, Open Segmentation* for
#   `lungs.nii.gz`.
# * **OHIF**: store `lungs.dcm` beside the series on the DICOM server; it appears in the panel
#   *Segmentations*.
# * **Planning systems**: import `lungs.rtstruct.dcm`.
