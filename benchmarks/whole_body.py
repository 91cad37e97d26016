"""Write a whole-body CT scan of 900 slices, made of real slices of several patients.

    python benchmarks/whole_body.py DATA whole-body.nii.gz

From foot to head: 24 slices of pelvis and abdomen, the scan LIDC-IDRI-0001, and one slice of the
neck. Slices are repeated to 1 mm, not interpolated; there is no head and no leg.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

import pleura

SLICES = 900
NECK_SLICES = 60
NECK = "scans/ID_0037_AGE_0074_CONTRAST_1_CT.dcm"
ABDOMEN = [
    "scans/ID_0077_AGE_0074_CONTRAST_0_CT.dcm",
    "scans/ID_0087_AGE_0044_CONTRAST_0_CT.dcm",
    "scans/ID_0079_AGE_0071_CONTRAST_0_CT.dcm",
    "scans/ID_0017_AGE_0060_CONTRAST_1_CT.dcm",
    "scans/ID_0045_AGE_0074_CONTRAST_1_CT.dcm",
    "sbu/data-sample_A062055_axial_19001127-136.dcm",
    "scans/ID_0012_AGE_0061_CONTRAST_1_CT.dcm",
    "scans/ID_0094_AGE_0052_CONTRAST_0_CT.dcm",
    "scans/ID_0016_AGE_0063_CONTRAST_1_CT.dcm",
    "scans/ID_0028_AGE_0074_CONTRAST_1_CT.dcm",
    "sbu/data-sample_A062055_axial_19001228-131.dcm",
    "sbu/data-sample_A058062_axial_19001231-084.dcm",
    "sbu/data-sample_A058062_axial_19010108-078.dcm",
    "scans/ID_0041_AGE_0045_CONTRAST_1_CT.dcm",
    "scans/ID_0010_AGE_0060_CONTRAST_1_CT.dcm",
    "scans/ID_0084_AGE_0067_CONTRAST_0_CT.dcm",
    "scans/ID_0086_AGE_0073_CONTRAST_0_CT.dcm",
    "scans/ID_0047_AGE_0069_CONTRAST_1_CT.dcm",
    "sbu/data-sample_A027284_axial_19001231-131.dcm",
    "sbu/data-sample_A027284_axial_19000925-116.dcm",
    "scans/ID_0030_AGE_0076_CONTRAST_1_CT.dcm",
    "scans/ID_0078_AGE_0066_CONTRAST_0_CT.dcm",
    "scans/ID_0071_AGE_0065_CONTRAST_0_CT.dcm",
    "scans/ID_0073_AGE_0074_CONTRAST_0_CT.dcm",
]  # from pelvis to upper abdomen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()

    def slice_of(name: str) -> NDArray[np.int16]:
        return pleura.read(options.data / name).hu()[0]

    scan = pleura.read(options.data / "lidc" / "LIDC-IDRI-0001")
    order = scan.geometry.to_canonical()
    geometry = order.apply_to(scan.geometry)
    hu = order.apply(scan.hu())
    thickness = geometry.spacing[0]
    chest = (np.arange(round(len(hu) * thickness)) / thickness).astype(int)
    below = SLICES - NECK_SLICES - len(chest)
    abdomen = [slice_of(name) for name in ABDOMEN]
    volume = np.empty((SLICES, *hu.shape[1:]), np.int16)
    for index in range(below):
        volume[index] = abdomen[index * len(abdomen) // below]
    volume[below : below + len(chest)] = hu[np.minimum(chest, len(hu) - 1)]
    volume[below + len(chest) :] = slice_of(NECK)
    affine = np.diag([-geometry.spacing[2], -geometry.spacing[1], 1, 1])
    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), affine), options.output)


if __name__ == "__main__":
    main()
