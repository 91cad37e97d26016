"""Make tests/data/sample: 60 small slices with lung masks from three scans of LCTSC, and one of
the scans whole, smaller still.

    python benchmarks/make_sample.py LCTSC_FOLDER tests/data/sample

LCTSC_FOLDER holds LCTSC-Test-S1-{101,201,202}/{ct,lungs}.nii.gz. Needs nibabel. The choice of
slices, the reduction and the split are described in the sample's own README.md.
"""

import argparse
import csv
import io
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pleura.dataset.subsets import Split
from pleura.files.atomic import write_atomically
from pleura.formats.image_files import write_image_file

TRAINING, TEST = ("101", "202"), ("201",)
VOLUME = "101"
BELOW, WITH_LUNG, ABOVE = (10, 4), 17, (4,)  # slices from the base; of the lung; from the apex
SPACING, THICKNESS = 1.953125, 3.0  # mm; two pixels of a field of 500 mm in 512 pixels


def read_display(path: Path) -> NDArray[np.int16]:
    """(slice, row, column): from foot to head, front to back, the patient's right to left."""
    scan = nib.load(path)
    have = nib.orientations.io_orientation(scan.affine)
    want = nib.orientations.axcodes2ornt(("L", "P", "S"))
    turned = scan.as_reoriented(nib.orientations.ornt_transform(have, want))
    return np.asarray(turned.dataobj, np.int16).transpose(2, 1, 0)


def mean_of_four(picture: NDArray[np.number]) -> NDArray[np.float64]:
    rows, columns = picture.shape
    return picture.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))


def choose_slices(lungs: NDArray[np.bool_]) -> list[int]:
    """Even steps from base to apex, each slice the middle of its step, and a few beyond."""
    inside = np.flatnonzero(lungs.any(axis=(1, 2)))
    base, apex = int(inside[0]), int(inside[-1])
    steps = base + (np.arange(WITH_LUNG) + 0.5) * (apex + 1 - base) / WITH_LUNG
    return [*(base - n for n in BELOW), *(int(s) for s in steps), *(apex + n for n in ABOVE)]


def make_patient(source: Path, patient: str, target: Path) -> list[dict[str, object]]:
    """Write a patient's images and masks, and return a row of patients.csv for each."""
    folder = source / f"LCTSC-Test-S1-{patient}"
    scan, lungs = read_display(folder / "ct.nii.gz"), read_display(folder / "lungs.nii.gz") > 0
    rows = []
    for index in choose_slices(lungs):
        name = f"LCTSC-{patient}_{index:03d}.tif"
        mask = mean_of_four(lungs[index]) >= 0.5
        write_image_file(
            target / "images" / name, np.rint(mean_of_four(scan[index])).astype(np.int16)
        )
        write_image_file(target / "masks" / name, mask * np.uint8(255))
        rows.append(
            {
                "name": name,
                "patient": f"LCTSC-{patient}",
                "slice": index,
                "spacing_mm": SPACING,
                "thickness_mm": THICKNESS,
                "lung_fraction": f"{mask.mean():.6f}",
            }
        )
    return rows


def make_volume(source: Path, target: Path) -> None:
    """Write a whole scan and its lungs (1 right, 2 left), means over 4 x 4 x 2 voxels."""
    folder, steps = source / f"LCTSC-Test-S1-{VOLUME}", (4, 4, 2)
    target.mkdir(parents=True, exist_ok=True)
    for name in ("ct", "lungs"):
        image = nib.load(folder / f"{name}.nii.gz")
        values = np.asarray(image.dataobj)
        affine = image.affine.copy()
        affine[:3, 3] += image.affine[:3, :3] @ ((np.array(steps) - 1) / 2)
        affine[:3, :3] = image.affine[:3, :3] * steps
        if name == "ct":
            reduced = np.rint(block_means(values, steps)).astype(np.int16)
        else:
            shares = [block_means(values == label, steps) for label in (0, 1, 2)]
            reduced = np.argmax(shares, axis=0).astype(np.uint8)
        written = nib.Nifti1Image(reduced, affine)
        written.header.set_xyzt_units("mm")
        nib.save(written, target / f"{name}.nii.gz")


def block_means(values: NDArray[np.generic], steps: tuple[int, ...]) -> NDArray[np.float64]:
    whole = values[
        tuple(slice(n // step * step) for n, step in zip(values.shape, steps, strict=True))
    ]
    split = [n for size, step in zip(whole.shape, steps, strict=True) for n in (size // step, step)]
    return whole.reshape(split).mean(axis=(1, 3, 5), dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, metavar="LCTSC_FOLDER")
    parser.add_argument("target", type=Path, metavar="SAMPLE_FOLDER")
    arguments = parser.parse_args()
    rows = {
        patient: make_patient(arguments.source, patient, arguments.target)
        for patient in (*TRAINING, *TEST)
    }
    names = {patient: [str(row["name"]) for row in rows[patient]] for patient in rows}
    Split(
        training=tuple(n for p in TRAINING for i, n in enumerate(names[p]) if i % 5 != 2),
        validation=tuple(n for p in TRAINING for n in names[p][2::5]),
        test=tuple(n for p in TEST for n in names[p]),
    ).write(arguments.target / "split.csv")
    make_volume(arguments.source, arguments.target / "volume")
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[TEST[0]][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for patient in sorted(rows) for row in rows[patient])
    write_atomically(
        arguments.target / "patients.csv", lambda file: file.write(table.getvalue().encode())
    )


if __name__ == "__main__":
    main()
