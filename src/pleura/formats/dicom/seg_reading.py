"""Reading DICOM Segmentation objects (PS3.3 A.51, A.51.1): binary, fractional and label maps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pleura.errors import ScanError, first_line
from pleura.files.limits import check_claimed_size
from pleura.formats.dicom.attributes import to_floats, to_int
from pleura.formats.dicom.frames import MAX_PIXELS
from pleura.formats.dicom.pixels import NATIVE, read_stored_values
from pleura.formats.segments import (
    ALIGNED,
    Drawn,
    Segment,
    SegmentFile,
    draw_resampled,
    draw_volumes,
    outside_decisions,
    require_drawn,
)
from pleura.scan.geometry import Geometry, affine_from_axes
from pleura.scan.origin import Origin
from pleura.scan.scan import Decision
from pleura.typing import BoolArray

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes Segmentation Storage and Label Map Segmentation Storage."""

_KIND = "DICOM SEG"
_TYPE = "SegmentedPropertyTypeCodeSequence"
_MODIFIER = "SegmentedPropertyTypeModifierCodeSequence"


@dataclass(frozen=True)
class _SegFrame:
    """A frame, with the fields that decoding needs; 0 is the segment of a label map."""

    path: Path
    index: int
    rows: int
    columns: int
    segment: int
    affine: NDArray[np.float64]

    @property
    def geometry(self) -> Geometry:
        """The grid of the frame, of one slice."""
        return Geometry((1, self.rows, self.columns), self.affine)


def read_seg(path: Path, dataset: Dataset) -> SegmentFile:
    """Read the segments of a DICOM SEG; pixels are decoded when a segment is drawn.

    Raises
    ------
    ScanError
        Segments or frames have no valid number or position, or the size is not plausible.
    """
    segmentation_type = str(dataset.get("SegmentationType", ""))
    is_labelmap = segmentation_type == "LABELMAP"
    segments = tuple(_segments(dataset))
    if len({segment.number for segment in segments}) < len(segments) or not segments:
        raise _damaged(path, "its segments have no different numbers")
    frames = _frames(path, dataset, labelmap=is_labelmap)
    origin = Origin(format="DICOM", path=path, files=(path,))
    own = _own_grid(path, frames)

    def draw(numbers: Collection[int], grid: Geometry) -> Drawn:
        used = [frame for frame in frames if is_labelmap or frame.segment in numbers]
        decode = _Decoder(dataset, numbers)
        exact = draw_volumes(((decode(frame)[None], frame.geometry) for frame in used), grid)
        if exact is not None:
            inside, outside = exact
            decisions = outside_decisions(outside, "voxel")
        elif own is None:
            raise _damaged(path, "its frames are not parallel and evenly spaced")
        else:
            volume = np.zeros(own.shape, np.bool_)
            for frame in used:
                volume[_slice_index(frame, own)] |= decode(frame)
            inside, decisions = draw_resampled(volume, own, grid)
            outside = int(volume.any())
        if outside:
            require_drawn(inside, _KIND, origin)
        return inside, (*decode.decisions, *decisions)

    return SegmentFile(
        _KIND,
        origin,
        segments,
        own,
        draw,
        str(dataset.get("FrameOfReferenceUID", "") or ""),
        frozenset(
            str(item.get("SeriesInstanceUID", ""))
            for item in dataset.get("ReferencedSeriesSequence") or []
        )
        - {""},
    )


def codes_of(item: Dataset, *sequences: str) -> frozenset[str]:
    """Return the codes in the sequences of an item, with their schemes."""
    return frozenset(
        f"{code.get('CodingSchemeDesignator', '')}:{code.get('CodeValue', '')}"
        for sequence in sequences
        for code in item.get(sequence) or []
    )


def _segments(dataset: Dataset) -> Iterator[Segment]:
    for item in dataset.get("SegmentSequence") or []:
        number = to_int(item.get("SegmentNumber"))
        if number > 0:  # 0 is the background of a label map
            name = str(item.get("SegmentLabel", "") or "").strip()
            # The modifier, of the side, is in the item of the type (PS3.3 C.8.20.2).
            types = item.get(_TYPE) or []
            modifiers = frozenset().union(*(codes_of(one, _MODIFIER) for one in types))
            yield Segment(number, name, codes_of(item, _TYPE) | modifiers)


def _frames(path: Path, dataset: Dataset, *, labelmap: bool) -> list[_SegFrame]:
    rows, columns = (to_int(dataset.get(keyword)) for keyword in ("Rows", "Columns"))
    count = to_int(dataset.get("NumberOfFrames", 1))
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not (0 < rows * columns <= MAX_PIXELS and count == len(groups) > 0):
        raise _damaged(path, f"its header claims {count} frames of {rows}x{columns}")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    shared_axes = _axes(shared)
    frames = []
    for index, group in enumerate(groups):
        segment = _first_item("SegmentIdentificationSequence", group, shared)
        number = 0 if labelmap else to_int(segment.get("ReferencedSegmentNumber"))
        plane = _first_item("PlanePositionSequence", group, shared)
        position = to_floats(plane.get("ImagePositionPatient"), 3)
        axes = _axes(group, shared) if shared_axes is None else shared_axes
        if position is None or axes is None:
            raise _damaged(path, f"its frame {index + 1} has no position, orientation or spacing")
        affine = affine_from_axes(position, axes)
        frames.append(_SegFrame(path, index, rows, columns, number, affine))
    return frames


def _first_item(sequence: str, *groups: Dataset) -> Dataset:
    """Return the first item of a sequence in functional groups, or an empty one."""
    items = next((group.get(sequence) for group in groups if sequence in group), None)
    return items[0] if items else Dataset()


_Axes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _axes(*groups: Dataset) -> _Axes | None:
    """Return the steps in mm along slices, rows and columns; None if they are not complete."""
    plane = _first_item("PlaneOrientationSequence", *groups)
    measures = _first_item("PixelMeasuresSequence", *groups)
    orientation = to_floats(plane.get("ImageOrientationPatient"), 6)
    spacing = to_floats(measures.get("PixelSpacing"), 2)
    if orientation is None or spacing is None:
        return None
    between = to_floats(measures.get("SpacingBetweenSlices"), 1)
    thickness = to_floats(measures.get("SliceThickness"), 1)
    step = abs((between or thickness or (1.0,))[0]) or 1.0
    row, column = np.reshape(orientation, (2, 3))
    return np.cross(row, column) * step, column * spacing[0], row * spacing[1]


def _own_grid(path: Path, frames: list[_SegFrame]) -> Geometry | None:
    """Return the smallest grid that contains all frames.

    Returns None if the frames are not parallel, or not evenly spaced.
    """
    first = frames[0].geometry
    unit = first.directions[:, 0]
    affines = np.stack([frame.affine for frame in frames])
    positions = affines[:, :3, 3] @ unit
    order = np.argsort(positions)
    steps = np.diff(positions[order])
    steps = steps[steps > 0.01]
    start, end = affines[order[[0, -1]], :3, 3]
    count = 1
    slice_step = first.affine[:3, 0]
    if len(steps):
        step = np.median(steps[steps <= 1.5 * steps.min()])
        count = int(np.rint(steps / step).sum()) + 1
        slice_step = (end - start) / (count - 1)
    check_claimed_size(count * first.shape[1] * first.shape[2], None, path)
    axes = slice_step, first.affine[:3, 1], first.affine[:3, 2]
    grid = Geometry((count, *first.shape[1:]), affine_from_axes(start, axes))
    corners = np.array([(0, 0, 0, 1), (0, first.shape[1] - 1, first.shape[2] - 1, 1)])
    index = np.linalg.inv(grid.affine)[:3] @ affines @ corners.T
    expected = np.repeat(corners[None, :, :3].swapaxes(1, 2), len(frames), 0)
    expected[:, 0] = np.rint(index[:, :1, 0])
    return None if np.abs(index - expected).max() > ALIGNED else grid


def _slice_index(frame: _SegFrame, grid: Geometry) -> int:
    to_grid = np.linalg.inv(grid.affine)
    index = round(float(to_grid[0] @ frame.affine[:, 3]))
    return min(max(index, 0), grid.shape[0] - 1)


class _Decoder:
    """Decode frames of some segments, and collect the decisions.

    Parameters
    ----------
    dataset, numbers:
        The object, and the segments whose voxels are inside.
    """

    def __init__(self, dataset: Dataset, numbers: Collection[int]) -> None:
        self._dataset, self._numbers = dataset, list(numbers)
        self._type = str(dataset.get("SegmentationType", ""))
        self._half = max(to_int(dataset.get("MaximumFractionalValue", 255)), 1) / 2
        self.decisions: tuple[Decision, ...] = ()
        if self._type == "FRACTIONAL":
            choice, reason = "inside from 0.5", "the segments are fractional"
            self.decisions = (Decision("mask", choice, reason),)

    def __call__(self, frame: _SegFrame) -> BoolArray:
        """Return the pixels (rows, columns) that are inside.

        Raises
        ------
        ScanError
            The frame is damaged.
        """
        try:
            values = self._stored(frame)
        except ScanError:
            raise
        # Decoders raise many kinds of errors.
        except Exception as error:
            raise _damaged(frame.path, f"frame {frame.index + 1}: {first_line(error)}") from error
        if values.shape != (frame.rows, frame.columns):
            raise _damaged(frame.path, f"frame {frame.index + 1} has the shape {values.shape}")
        if self._type == "LABELMAP":
            return np.isin(values, self._numbers)
        return np.asarray(values >= (self._half if self._type == "FRACTIONAL" else 1))

    def _stored(self, frame: _SegFrame) -> NDArray[Any]:
        native = str(self._dataset.file_meta.TransferSyntaxUID) in NATIVE
        if native and self._dataset.BitsAllocated == 1:
            return _unpack_bits(self._dataset, frame)
        return read_stored_values(self._dataset, frame.path, frame.index)


def _unpack_bits(dataset: Dataset, frame: _SegFrame) -> NDArray[np.uint8]:
    """Return a frame of single bits, which may begin within a byte (PS3.5 8.1.1, D.1)."""
    n = frame.rows * frame.columns
    start = frame.index * n
    first, last = start // 8, -(-(start + n) // 8)
    if last > len(dataset.PixelData):
        raise _damaged(frame.path, "its pixel data are truncated")
    packed = np.frombuffer(dataset.PixelData, np.uint8, last - first, first)
    bits = np.unpackbits(packed, bitorder="little")[start - 8 * first :][:n]
    return bits.reshape(frame.rows, frame.columns)


def _damaged(path: Path, problem: str) -> ScanError:
    return ScanError(
        f"the {_KIND} cannot be read: {problem}", where=path, hint="export the file again"
    )
