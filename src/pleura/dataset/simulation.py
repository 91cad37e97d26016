"""What scanners, other people's pictures and disease do to a slice, simulated on training images.

Every function takes and returns float32 HU (rows, columns); the reference mask stays as it is but
where a lung goes missing or nothing was scanned. All draws come from one generator, so a batch can
be drawn again.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pleura.dataset.recipe_model import RecipeModel
from pleura.typing import BoolArray, FloatArray

AIR, TISSUE = -1000.0, 40.0
_WINDOW = (-1024.0, 600.0)  # what a grey picture is taken for where it shows nothing better


class Simulation(RecipeModel):
    """Probability of each simulated effect per training image; the defaults are of `default`."""

    disease: float = Field(0.3, ge=0, le=1)
    """Consolidation, ground glass, masses, emphysema or fibrosis added to the lungs."""
    missing_lung: float = Field(0.03, ge=0, le=1)
    """One lung becomes soft tissue, in image and mask."""
    gas: float = Field(0.2, ge=0, le=1)
    """Pockets of gas in the body outside the lungs: bowel, oesophagus, under the skin."""
    external_objects: float = Field(0.2, ge=0, le=1)
    """Lines and arcs in the air around the body: blankets, tables, tubes."""
    kernel: float = Field(0.5, ge=0, le=1)
    """Reconstruction kernel: smoothed, or sharpened."""
    noise: float = Field(0.5, ge=0, le=1)
    """Low-dose noise, white or correlated."""
    motion: float = Field(0.08, ge=0, le=1)
    """A motion ghost: the slice blended with a shifted copy of itself."""
    metal: float = Field(0.05, ge=0, le=1)
    """A bright implant with streaks."""
    field_of_view: float = Field(0.15, ge=0, le=1)
    """Constant values outside a circular or rectangular field of view, which may cut the body."""
    window: float = Field(0.3, ge=0, le=1)
    """An 8-bit picture of a window, converted back to approximate HU."""
    clahe: float = Field(0.12, ge=0, le=1)
    """An 8-bit picture with contrast-limited adaptive histogram equalisation, likewise."""
    calibration: float = Field(0.5, ge=0, le=1)
    """Calibration error: values multiplied by a factor and shifted by an offset."""


def simulate(
    hu: FloatArray, mask: FloatArray, simulation: Simulation, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return image in HU and mask in [0, 1], both (rows, columns), after what befalls them."""

    def happens(chance: float) -> bool:
        return bool(rng.random() < chance)

    hu, mask = _changed_body(hu, mask, simulation, happens, rng)
    for chance, fault in (
        (simulation.external_objects, _external_objects),
        (simulation.metal, _metal),
        (simulation.motion, _motion),
        (simulation.kernel, _kernel),
        (simulation.noise, _noise),
    ):
        if happens(chance):
            hu = fault(hu, rng)
    if happens(simulation.field_of_view):
        outside = _outside(hu.shape, rng)
        hu = np.where(outside, np.float32(rng.choice([-1024, -1024, -1000, 0])), hu)
        mask = np.where(outside, np.float32(0), mask)
    if happens(simulation.clahe):
        hu = _clahe(hu, rng)
    elif happens(simulation.window):
        hu = _windowed(hu, rng)
    if happens(simulation.calibration):
        hu = (hu - AIR) * rng.normal(1, 0.06) + AIR + rng.normal(0, 30)
    return np.asarray(hu, np.float32), mask


def _changed_body(
    hu: FloatArray,
    mask: FloatArray,
    simulation: Simulation,
    happens: Callable[[float], bool],
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    if happens(simulation.missing_lung):
        hu, mask = _lose_a_lung(hu, mask, rng)
    if happens(simulation.disease):
        hu = _diseased(hu, mask > 0.5, rng)
    if happens(simulation.gas):
        hu = _gas(hu, mask, rng)
    return hu, mask


def simulate_fault(
    name: str, hu: FloatArray, mask: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Simulate one thing, named as its chance in `Simulation`, for certain and nothing else."""
    none = dict.fromkeys(Simulation.model_fields, 0.0)
    return simulate(hu, mask, Simulation(**{**none, name: 1.0}), rng)


def _field(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> FloatArray:
    """Return a smooth random field of mean 0 and SD about 1; ``grain`` is its size in pixels."""
    coarse = rng.standard_normal([max(2, round(side / grain) + 2) for side in shape], np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(field / max(float(field.std()), 1e-3), np.float32)


def _blurred(picture: FloatArray, sigma: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)


def _blend(hu: FloatArray, value: FloatArray | float, share: FloatArray) -> FloatArray:
    return np.asarray(hu + share * (value - hu), np.float32)


def _patches(lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Return soft patches, in [0, 1], over 5 to 50 % of the lungs, often at the back or rim."""
    rows = np.linspace(-1, 1, lung.shape[0], dtype=np.float32)[:, None]
    field = _field(lung.shape, rng.uniform(8, 60), rng) + rng.normal(0, 1.5) * rows
    if rng.random() < 0.4:
        field = field - rng.uniform(0.02, 0.12) * _depth(lung)
    limit = np.quantile(field[lung], 1 - rng.uniform(0.05, 0.5))
    patches = ((field > limit) & lung).astype(np.float32)
    return _blurred(patches, rng.uniform(0.4, 2.5)) * lung


def _depth(lung: BoolArray) -> FloatArray:
    """Return the distance from the lung's border, in pixels."""
    distance = cv2.distanceTransform(lung.astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(distance, np.float32)


def _diseased(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Paint one or two diseases into the lungs, if there are any."""
    if lung.any():
        number = 1 if rng.random() < 0.7 else 2
        for disease in rng.choice(len(_DISEASES), number, replace=False, p=_SHARES):
            hu = _DISEASES[disease](hu, lung, rng)
    return hu


def _consolidation(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Paint dense patches with bronchi full of air in most of them.

    Without those a patch inside the lung looks as the dome of the liver does, which is no lung.
    """
    value = rng.normal(20, 40) + 20 * _field(hu.shape, 3, rng)
    share = rng.uniform(0.7, 1) * _patches(lung, rng)
    if rng.random() < 0.8:
        share = share * np.clip(2 - 2 * np.abs(_field(hu.shape, rng.uniform(2, 5), rng)), 0, 1)
    return _blend(hu, value, np.asarray(share, np.float32))


def _dependent(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Fill the lungs from one end, mostly the back, as collapse and fluid do."""
    angle = rng.normal(0, 0.3) + (np.pi if rng.random() < 0.15 else 0)
    y, x = np.nonzero(lung)
    down = y * np.cos(angle) + x * np.sin(angle)
    limit = np.quantile(down, 1 - rng.uniform(0.03, 0.3))
    rows, columns = np.indices(hu.shape, np.float32)
    level = rows * np.cos(angle) + columns * np.sin(angle) + 3 * _field(hu.shape, 30, rng)
    filled = _blurred(((level > limit) & lung).astype(np.float32), rng.uniform(0.4, 2)) * lung
    return _blend(hu, rng.normal(20, 25), filled)


def _ground_glass(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    denser = rng.uniform(80, 450) * (1 + 0.2 * _field(hu.shape, 3, rng))
    return np.minimum(hu + denser.astype(np.float32) * _patches(lung, rng), np.maximum(hu, 60))


def _masses(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Paint one to four round masses, most of them against the pleura."""
    depth = _depth(lung)
    rim = np.argwhere(lung & (depth < 6)) if rng.random() < 0.7 else np.argwhere(lung)
    share = np.zeros(hu.shape, np.float32)
    for row, column in rng.choice(rim, rng.integers(1, 5)):
        axes = rng.uniform(2, 20, 2) if rng.random() < 0.5 else rng.uniform(2, 8, 2)
        place = (int(column), int(row)), (int(axes[0]), int(axes[1])), rng.uniform(0, 180)
        cv2.ellipse(share, *place, 0, 360, 1.0, -1)
    value = rng.normal(35, 25) + 12 * _field(hu.shape, 4, rng)
    return _blend(hu, value, _blurred(share, rng.uniform(0.4, 1.5)) * lung)


def _emphysema(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    return _blend(hu, rng.uniform(-1000, -930), _patches(lung, rng) * np.float32(0.9))


def _fibrosis(hu: FloatArray, lung: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Paint a net of walls and cysts, as honeycombing beneath the pleura."""
    net = np.abs(_field(hu.shape, rng.uniform(3, 7), rng))
    walls = rng.uniform(200, 700) * (1 - 2 * np.minimum(net, 1))
    under = np.exp(-_depth(lung) / rng.uniform(6, 30)) * lung
    return np.asarray(np.clip(hu + walls * under, AIR, np.maximum(hu, 80)), np.float32)


_DISEASES: tuple[Callable[[FloatArray, BoolArray, np.random.Generator], FloatArray], ...] = (
    _consolidation,
    _dependent,
    _ground_glass,
    _masses,
    _emphysema,
    _fibrosis,
)


_SHARES = (0.2, 0.08, 0.24, 0.16, 0.16, 0.16)


def _lose_a_lung(
    hu: FloatArray, mask: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    count, pieces = cv2.connectedComponents((mask > 0.5).astype(np.uint8))
    if count < 3:
        return hu, mask
    lost = cv2.dilate((pieces == rng.integers(1, count)).astype(np.uint8), np.ones((5, 5)))
    share = _blurred(lost.astype(np.float32), 1.0)
    value = rng.normal(30, 20) + 12 * _field(hu.shape, 4, rng)
    return _blend(hu, value, share), np.where(lost > 0, np.float32(0), mask)


def _body(hu: FloatArray) -> BoolArray:
    """Return what the air around the patient does not reach from the picture's rim."""
    air = np.pad((hu < -400).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(air, None, (0, 0), 2)
    return np.asarray(air[1:-1, 1:-1] != 2)


def _gas(hu: FloatArray, mask: FloatArray, rng: np.random.Generator) -> FloatArray:
    away = cv2.dilate((mask > 0).astype(np.uint8), np.ones((5, 5))) == 0
    tissue = np.argwhere(_body(hu) & away & (hu > -300))
    if not len(tissue):
        return hu
    share = np.zeros(hu.shape, np.float32)
    for row, column in rng.choice(tissue, rng.integers(1, 7)):
        axes = rng.uniform(1, 20, 2) if rng.random() < 0.4 else rng.uniform(1, 6, 2)
        place = (int(column), int(row)), (int(axes[0]), int(axes[1])), rng.uniform(0, 180)
        cv2.ellipse(share, *place, 0, 360, 1.0, -1)
    share = _blurred(share, rng.uniform(0.4, 1.2)) * (away & _body(hu))
    value = np.full(hu.shape, rng.choice([AIR, rng.uniform(-1000, -500)]), np.float32)
    if rng.random() < 0.3:  # stool: gas in crumbs
        value += 150 * np.abs(_field(hu.shape, 2, rng))
    return _blend(hu, value, share)


def _external_objects(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    share = np.zeros(hu.shape, np.float32)
    rows, columns = hu.shape
    for _ in range(rng.integers(1, 5)):
        centre = int(rng.uniform(0, columns)), int(rng.uniform(0, rows))
        axes = int(rng.uniform(2, columns)), int(rng.uniform(1, rows / 2))
        angles = rng.uniform(-30, 30), rng.uniform(0, 360), rng.uniform(0, 360)
        cv2.ellipse(share, centre, axes, *angles, 1.0, int(rng.integers(1, 4)))
    return _blend(hu, rng.uniform(-900, 300), _blurred(share, 0.6) * ~_body(hu))


def _metal(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Set an implant of 1 to 5 pixels, with bright and dark streaks that fade away from it."""
    body = np.argwhere(hu > -200)
    if not len(body):
        return hu
    row, column = rng.choice(body)
    y, x = np.indices(hu.shape, np.float32)
    away = np.hypot(y - row, x - column) + 1
    spokes = np.interp(np.arctan2(y - row, x - column), *_spokes(rng)).astype(np.float32)
    hu = hu + rng.uniform(100, 600) * spokes * np.exp(-away / rng.uniform(15, 80))
    return np.where(away < rng.uniform(1, 5), np.float32(3000), np.maximum(hu, -1024))


def _spokes(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    number = int(rng.integers(8, 40))
    return np.linspace(-np.pi, np.pi, number), rng.standard_normal(number)


def _motion(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    angle, length = rng.uniform(0, np.pi), rng.uniform(2, 7)
    matrix = np.array([[1, 0, np.cos(angle) * length], [0, 1, np.sin(angle) * length]])
    shifted = cv2.warpAffine(hu, matrix, hu.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    share = rng.uniform(0.2, 0.5)
    return np.asarray((1 - share) * hu + share * shifted, np.float32)


def _kernel(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    sigma = rng.uniform(0.4, 1.6)
    smooth = _blurred(hu, sigma)
    if rng.random() < 0.6:
        return smooth
    return np.asarray(hu + rng.uniform(0.3, 1.5) * (hu - smooth), np.float32)


def _noise(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    noise = rng.standard_normal(hu.shape, np.float32)
    if rng.random() < 0.6:
        noise = _blurred(noise, rng.uniform(0.4, 1.2))
    sd = np.exp(rng.uniform(np.log(5), np.log(120)))
    return np.asarray(hu + noise * np.float32(sd / noise.std()), np.float32)


def _outside(shape: tuple[int, ...], rng: np.random.Generator) -> BoolArray:
    """Return what lies outside a circle or a box, which may cut the body."""
    rows, columns = shape
    y, x = np.indices(shape, np.float32)
    if rng.random() < 0.7:
        centre = rng.normal(0.5, 0.03, 2) * shape
        away = np.hypot(y - centre[0], x - centre[1])
        return np.asarray(away > rng.uniform(0.33, 0.55) * columns)
    low, high = rng.uniform(0, 0.2, 2), 1 - rng.uniform(0, 0.2, 2)
    beyond = (y < low[0] * rows) | (y > high[0] * rows)
    return np.asarray(beyond | (x < low[1] * columns) | (x > high[1] * columns))


def _windowed(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    low, high = rng.uniform(-1400, -900), rng.uniform(50, 900)
    if rng.random() < 0.1:  # a mediastinal window: lungs as black as air
        low, high = rng.uniform(-400, -150), rng.uniform(150, 400)
    grey = np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255) / 255
    grey = grey ** np.float32(np.exp(rng.normal(0, 0.15)))
    low = low if rng.random() < 0.6 and low < -900 else _WINDOW[0]
    high = high if rng.random() < 0.6 and low < -900 else _WINDOW[1]
    return np.asarray(grey * (high - low) + low, np.float32)


def _clahe(hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    low, high = max(float(hu.min()), -1024.0 - rng.uniform(0, 500)), float(hu.max())
    high = min(high, rng.uniform(200, 3000))
    grey = np.rint(np.clip((hu - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    tiles = int(rng.integers(2, 9))
    grey = cv2.createCLAHE(rng.uniform(1, 5), (tiles, tiles)).apply(grey)
    bottom, top = _WINDOW[0] + rng.normal(0, 60), _WINDOW[1] + rng.normal(0, 200)
    return np.asarray(grey * np.float32((top - bottom) / 255) + np.float32(bottom), np.float32)
