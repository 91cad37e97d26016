"""One small whole file of every format that pleura reads, to be damaged."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
import tifffile
from dicom_files import write_series
from lossless_jpeg import encode_lossless
from onnx import TensorProto, helper
from PIL import Image
from pydicom.encaps import encapsulate

from pleura.formats.read import read
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes
from pleura.training.recipe_loading import load_recipe

AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
RAS = np.diag([-0.7, -0.7, 2.5, 1])
SPLIT = "name,subset\na.tif,training\nb.tif,training\nc.tif,validation\nd.tif,test\n"
RECORD = {
    "format": 1,
    "name": "seed",
    "version": "1",
    "labels": ["lung"],
    "threshold": 0.5,
    "recipe": {},
    "data": "",
    "data_fingerprint": "",
    "licence": "",
    "weights_sha256": "",
}


def hu(slices: int = 3) -> np.ndarray:
    values = np.random.default_rng(0).integers(-1000, 300, (slices, 40, 36), np.int16)
    values[:, 8:24, 5:25] //= 8
    return values


def write_seeds(folder: Path) -> list[Path]:
    """Write all seeds, each in a folder that is named for what reads it."""
    scans = folder / "scan"
    scans.mkdir(parents=True)
    _volumes(scans)
    _images(scans)
    _dicom(scans)
    _masks(folder / "mask")
    _structures(folder / "structures")
    with zipfile.ZipFile(scans / "a.zip", "w") as archive:
        archive.write(scans / "plain.dcm", "one/1.dcm")
    with zipfile.ZipFile(scans / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(scans / "a.nii.gz", "a.nii.gz")
    _tables(folder)
    _model(folder / "model")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _volumes(folder: Path) -> None:
    image = nib.Nifti1Image(hu().T, RAS)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, folder / name)
    nib.save(nib.Nifti2Image(hu().T.astype(np.float32), RAS), folder / "b.nii")
    nib.save(nib.Nifti1Pair(hu().T, RAS), folder / "c.hdr")
    itk = sitk.GetImageFromArray(hu())
    itk.SetSpacing((0.7, 0.7, 2.5))
    for name in ("a.nrrd", "b.nhdr", "a.mha", "b.mhd"):
        sitk.WriteImage(itk, str(folder / name), useCompression=False)
    for name in ("c.nrrd", "c.mha"):
        sitk.WriteImage(itk, str(folder / name), useCompression=True)


def _images(folder: Path) -> None:
    image = hu()[0]
    tifffile.imwrite(folder / "a.tif", image, photometric="minisblack")
    tifffile.imwrite(folder / "b.tif", hu(), photometric="minisblack", compression="zlib")
    tifffile.imwrite(folder / "c.tif", hu(), photometric="minisblack")
    tifffile.imwrite(folder / "d.tif", hu().astype(np.float32), photometric="minisblack")
    pages = [Image.fromarray((one + 1024).astype(np.uint16)) for one in hu()]
    pages[0].save(folder / "e.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    tifffile.imwrite(folder / "f.tif", hu().astype(np.float32), imagej=True)
    grey = (image.clip(-1000, 300) / 5.2 + 195).astype(np.uint8)
    Image.fromarray(grey).save(folder / "a.png")
    Image.fromarray((image + 1024).astype(np.uint16)).save(folder / "b.png")
    Image.fromarray(grey).save(folder / "a.jpg", quality=90)
    Image.fromarray(grey).convert("RGB").save(folder / "b.jpg", progressive=True)
    np.save(folder / "a.npy", image)
    np.save(folder / "b.npy", hu().astype(np.float64))


def _masks(folder: Path) -> None:
    folder.mkdir()
    labels = (hu() > 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(labels.T, RAS), folder / "a.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "a.nrrd"))
    tifffile.imwrite(folder / "a.tif", labels, photometric="minisblack", compression="zlib")
    np.save(folder / "a.npy", labels)
    palette = Image.fromarray(labels[0]).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    for name in ("a.png", "b.tif"):
        palette.save(folder / name)


def _structures(folder: Path) -> None:
    folder.mkdir()
    with TemporaryDirectory() as series:
        write_series(Path(series), hu(), AXIAL)
        mask = Mask((hu() > 0).astype(np.uint8) * 2, read(series, units="hu"))
        for name in ("a.dcm", "a.rtstruct.dcm", "a.seg.nrrd"):
            mask.write(folder / name)


def _dicom(folder: Path) -> None:
    write_series(folder, hu(1), AXIAL, names=["plain.dcm"])
    whole = pydicom.dcmread(folder / "plain.dcm")
    stored = whole.pixel_array
    for name, syntax in (
        ("rle", pydicom.uid.RLELossless),
        ("jpeg_ls", pydicom.uid.JPEGLSLossless),
        ("jpeg_2000", pydicom.uid.JPEG2000Lossless),
    ):
        dataset = pydicom.dcmread(folder / "plain.dcm")
        dataset.compress(syntax)
        dataset.save_as(folder / f"{name}.dcm")
    whole.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    whole.save_as(folder / "deflated.dcm")
    frame = encode_lossless(stored.astype(np.uint16))
    _save_encapsulated(folder / "lossless.dcm", folder / "plain.dcm", frame, "70")
    content = io.BytesIO()
    Image.fromarray((stored >> 3).clip(0, 255).astype(np.uint8)).save(content, "jpeg", quality=95)
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    _save_encapsulated(
        folder / "baseline.dcm", folder / "plain.dcm", content.getvalue(), "50", **eight
    )


def _save_encapsulated(path, like, frame, syntax, **elements) -> None:
    dataset = pydicom.dcmread(like)
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    dataset["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def _tables(folder: Path) -> None:
    texts = {
        "split/a.csv": SPLIT,
        "cases/a.csv": "name,patient,group\na,1,x\nb,2,y\n",
        "manifest/a.csv": "path,name,patient,units\na.nii.gz,one,p1,hu\nb.nii.gz,two,p2,\n",
        "summary/a.csv": "name,status,mask,right_ml,left_ml,seconds\na,done,a_l.nii.gz,2,1,0.5\n",
        "history/history.csv": "epoch,loss\n1,0.5\n2,0.25\n",
        "recipe/a.yaml": load_recipe("quick").to_yaml(),
        "record/run.json": json.dumps(
            {"format": 1, "finished": True, "seed": 0, "data_fingerprint": "", "threshold": 0.5}
        ),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _model(folder: Path) -> None:
    """Write a model file that returns a part of its input as uint8."""
    folder.mkdir()
    grid = ["slices", "rows", "columns"]
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    nodes = [
        helper.make_node("Cast", ["hu"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "half"], ["part"]),
        helper.make_node("Cast", ["part"], ["p"], to=TensorProto.UINT8),
    ]
    ends = ("hu", TensorProto.INT16), ("p", TensorProto.UINT8)
    inputs, outputs = ([helper.make_tensor_value_info(*end, grid)] for end in ends)
    graph = helper.make_graph(nodes, "seed", inputs, outputs, initializer=[half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "pleura", json.dumps(RECORD)
    (folder / "a.onnx").write_bytes(model.SerializeToString())
