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
# # Lung segmentation in CT with a U-Net
#
# In this exercise you train a U-Net that finds the lungs in CT slices, and you evaluate it. It has
# 14 tasks. A task is code to write, followed by a cell that checks it, or a question to answer in
# a few sentences. You need Python and NumPy; PyTorch is explained where it is used.
#
# | Part | Tasks |
# |---|---|
# | Data | 1 load and split, 2 why augment, 3 augment, 4 look at the data |
# | Network | 5 how a U-Net works, 6 build it |
# | Training | 7 loss, 8 learning rate, 9 train, 10 evaluate, 11 over-fitting |
# | Accuracy of masks | 12 intersection over union, 13 its mean, 14 look at cases |
#
# ## Data
#
# The exercise was made for 267 slices of as many patients,
# [finding-lungs-in-ct-data](https://www.kaggle.com/datasets/kmader/finding-lungs-in-ct-data).
# Download and unpack the set, and set the environment variable `PLEURA_EXERCISE_DATA` to the
# folder that contains `2d_images` and `2d_masks`. Training then takes 5 to 20 minutes on two CPU
# cores, depending on the CPU.
#
# Without the variable, the notebook uses the sample of the project: 60 slices of three patients,
# on a smaller grid and with a narrower network. That takes less than a minute, and its masks are
# less accurate.

# %% tags=["setup"]
import os
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import tifffile
import torch
from torch import nn
from torch.nn import functional as F

import pleura
from pleura.figures.palette import PREDICTION, REFERENCE, TRAINING, VALIDATION

# %% tags=["setup"]
folder = os.environ.get("PLEURA_EXERCISE_DATA", "")
if folder:
    IMAGES, MASKS = Path(folder) / "2d_images", Path(folder) / "2d_masks"
    SIZE, CHANNELS, BATCH_SIZE = 128, (64, 128, 256), 16
    SETTINGS = []
else:
    places = [Path.cwd(), *Path.cwd().parents]
    sample = next(p for p in (q / "tests/data/sample" for q in places) if p.is_dir())
    IMAGES, MASKS = sample / "images", sample / "masks"
    SIZE, CHANNELS, BATCH_SIZE = 64, (32, 64, 128), 4
    SETTINGS = [
        "split.method=file",
        f"split.file={sample / 'split.csv'}",
        f"preprocessing.size=[{SIZE}, {SIZE}]",
        f"training.batch_size={BATCH_SIZE}",
        "schedule.learning_rate=0.003",
    ]
RUN = Path("runs/exercise")
EPOCHS = 40
SEED = 220
SETTINGS += [f"training.epochs={EPOCHS}", f"training.seed={SEED}"]
recipe = pleura.load_recipe("exercise", SETTINGS)

print(f"{len(list(IMAGES.glob('*.tif')))} images in {IMAGES.name}, grid {SIZE}x{SIZE}")

# %% tags=["setup"]
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.grid": False})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9})


def show_image(axis, image, title="", mask=None, colour=REFERENCE):
    """Show an image (rows, columns) in grey, and the contour of a mask."""
    low, high = np.percentile(image, (1, 99.5))
    axis.imshow(image, vmin=low, vmax=high, interpolation="bilinear")
    if mask is not None and mask.any():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.3)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


# %% [markdown]
# ## Task 1: load, scale, resize and split
#
# Each image is a TIFF file; its mask has the same name. Write four functions:
#
# * `read_tiff(path)` returns the array `(rows, columns, channels)`. A CT slice has one channel,
#   and the file has no axis for it: add one.
# * `scale(image)` returns float32, divided by the maximum of the image, so that the largest value
#   is 1.
# * `resize(image, size, interpolation)` returns `(size, size, channels)`. `cv2.resize` drops the
#   axis of a single channel: restore it. Images are resized with Lanczos interpolation
#   (`cv2.INTER_LANCZOS4`) and masks with the nearest neighbour (`cv2.INTER_NEAREST`), so that a
#   mask contains 0 and 1 only.
# * `split(names)` returns three lists: the first 60 % of the sorted names for training, the next
#   20 % for validation, and the rest for testing.


# %% tags=["task"]
def read_tiff(path):
    """Return the array (rows, columns, channels) of a TIFF file."""
    # BEGIN SOLUTION: task 1: read the file with tifffile.imread and add the axis of the channel
    image = tifffile.imread(path)
    return image[..., np.newaxis] if image.ndim == 2 else image
    # END SOLUTION


def scale(image):
    """Divide an image by its maximum."""
    # BEGIN SOLUTION: task 1: convert the image to float32 and divide it by its maximum
    image = image.astype(np.float32)
    return image / image.max()
    # END SOLUTION


def resize(image, size, interpolation):
    """Resize (rows, columns, channels) to (size, size, channels)."""
    # BEGIN SOLUTION: task 1: resize with cv2.resize and restore the axis of the channel
    resized = cv2.resize(image, (size, size), interpolation=interpolation)
    return resized.reshape(size, size, image.shape[2])
    # END SOLUTION


def split(names):
    """Split names into 60 % for training, 20 % for validation and the rest for testing."""
    # BEGIN SOLUTION: task 1: sort the names and slice the list
    names = sorted(names)
    first = int(0.6 * len(names))
    second = first + int(0.2 * len(names))
    return names[:first], names[first:second], names[second:]
    # END SOLUTION


# %% tags=["check"]
example = read_tiff(sorted(IMAGES.glob("*.tif"))[0])
assert example.ndim == 3, f"read_tiff: expected 3 axes, got shape {example.shape}; add the channel"
assert example.shape[2] == 1, f"read_tiff: the channel is the last axis, got shape {example.shape}"
scaled = scale(np.array([[[-1000], [500]]], np.int16))
assert scaled.dtype == np.float32, f"scale: expected float32, got {scaled.dtype}"
assert np.allclose(scaled.ravel(), (-2, 1)), "scale: divide by the maximum, without a shift"
square = np.zeros((40, 60, 1), np.float32)
square[11:30, 16:45] = 1
small = resize(square, 20, cv2.INTER_NEAREST)
assert small.shape == (20, 20, 1), f"resize: expected shape (20, 20, 1), got {small.shape}"
assert set(np.unique(small)) == {0, 1}, "resize: pass the interpolation to cv2.resize"
shuffled = [f"{i:03}" for i in np.random.default_rng(0).permutation(267)]
subsets = [list(subset) for subset in split(shuffled)]
counts = [len(subset) for subset in subsets]
assert [*subsets[0], *subsets[1], *subsets[2]] == sorted(shuffled), (
    "split: sort the names; use each name exactly once"
)
assert counts == [160, 53, 54], f"split: expected 160, 53 and 54 of 267 names, got {counts}"
print("Task 1: correct")

# %% [markdown]
# Slices of one patient are similar, so all slices of a patient belong in one subset. Otherwise the
# test set contains patients of the training set, and its accuracy is too high. In the full set
# each slice is from another patient, and the sorted names are split. The sample has three patients
# and comes with a table of its subsets.


# %%
def load(names):
    """Return images (n, rows, columns, 1) and masks of the same shape, with 0 and 1."""
    images = [resize(scale(read_tiff(IMAGES / n)), SIZE, cv2.INTER_LANCZOS4) for n in names]
    masks = [resize(read_tiff(MASKS / n) > 0, SIZE, cv2.INTER_NEAREST) for n in names]
    return np.stack(images), np.stack(masks).astype(np.float32)


if folder:
    subsets = split([path.name for path in IMAGES.glob("*.tif")])
else:
    table = [line.split(",") for line in (sample / "split.csv").read_text().splitlines()[1:]]
    order = ("training", "validation", "test")
    subsets = [sorted(name for name, subset, *_ in table if subset == one) for one in order]
train_names, val_names, test_names = subsets
train_images, train_masks = load(train_names)
val_images, val_masks = load(val_names)
test_images, test_masks = load(test_names)
for name, images, masks in (
    ("training", train_images, train_masks),
    ("validation", val_images, val_masks),
    ("test", test_images, test_masks),
):
    lung = f"{masks.mean():.1%} of the pixels are lung"
    print(f"{name:<11} images {images.shape}  masks {masks.shape}  {lung}")

# %% [markdown]
# With the full set, the shapes are `(160, 128, 128, 1)`, `(53, 128, 128, 1)` and `(54, 128, 128,
# 1)`. `pleura` reads and prepares pairs in the same way: its arrays are equal to yours.

# %%
dataset = pleura.SegmentationDataset((IMAGES, MASKS), recipe, subset="validation")
theirs = np.stack([np.stack(dataset[i]) for i in range(len(dataset))])  # (n, 2, 1, rows, columns)
ours = np.stack([val_images, val_masks], axis=1).transpose(0, 1, 4, 2, 3)
print("names equal:", list(dataset.names) == list(val_names))
print("largest difference:", float(np.abs(ours - theirs).max()))

# %% [markdown]
# **Question: the values should be scaled to [0, 1]. Why does `scale` divide by the maximum, which
# leaves negative values?**

# %% [markdown] tags=["answer"]
# Mapping the minimum to 0 and the maximum to 1 makes every value depend on the darkest pixel of
# the image. Many scanners fill the corners outside the scanned circle with a value far below air.
# In such an image, lung then gets about the value that soft tissue has in an image without
# padding, as the table shows. Division by the maximum moves nothing: water stays at 0, and lung is
# negative in every image.

# %%
for name in train_names:  # the first image with lung and without padding
    image = read_tiff(IMAGES / name)[..., 0].astype(float)
    inside = read_tiff(MASKS / name)[..., 0] > 0
    if inside.any() and image.min() > -1500:
        break
soft_tissue = (np.abs(image) < 100) & ~inside
y, x = np.indices(image.shape) / (len(image) - 1) - 0.5
padded = np.where(np.hypot(x, y) > 0.5, -2500, image)

print("median value of      lung  soft tissue")
for name, values in (("without padding", image), ("with padding", padded)):
    minimum_to_maximum = (values - values.min()) / (values.max() - values.min())
    for scaling, scaled in (("max", values / values.max()), ("min-max", minimum_to_maximum)):
        medians = np.median(scaled[inside]), np.median(scaled[soft_tissue])
        print(f"{scaling:<8}{name:<16}" + "{:6.2f}{:9.2f}".format(*medians))

# %% [markdown]
# ## Task 2: why augmentation helps
#
# Augmentation changes each training image at random in each epoch. This exercise shifts by at most
# 0.1 of the image, rotates by at most 10 degrees, and zooms by at most 0.1.
#
# **Question: why do these three help, and when does augmentation hurt?** The figure shows the
# limits of the exercise, and changes beyond them.


# %%
def transformed(image, shift=0.0, rotation=0.0, zoom=1.0, flip=False):
    """Return an image (rows, columns) after a shift, a rotation, a zoom and a flip."""
    image = np.ascontiguousarray(image[:, ::-1]) if flip else image
    rows, columns = image.shape
    matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), rotation, zoom)
    matrix[:, 2] += shift * columns, shift * rows
    return cv2.warpAffine(image, matrix, (columns, rows), borderMode=cv2.BORDER_REPLICATE)


image = train_images[len(train_images) // 3, ..., 0]
choices = (
    ("shift 0.1", {"shift": 0.1}),
    ("rotation 10°", {"rotation": 10}),
    ("zoom 1.1", {"zoom": 1.1}),
    ("zoom 0.9", {"zoom": 0.9}),
    ("shift 0.4", {"shift": 0.4}),
    ("rotation 150°", {"rotation": 150}),
    ("zoom 2.5", {"zoom": 2.5}),
    ("flip", {"flip": True}),
)
figure, axes = plt.subplots(2, 5, figsize=(10, 4.3), layout="constrained")
for axis in axes[:, 0]:
    show_image(axis, image, "original")
for axis, (title, options) in zip(axes[:, 1:].flat, choices, strict=True):
    show_image(axis, transformed(image, **options), title)
figure.suptitle("Limits of the exercise (above), and beyond them (below)", fontsize=10)
plt.show()

# %% [markdown] tags=["answer"]
# The network has 900 thousand weights and 160 images, so it could memorise them. Random changes
# give it new images in each epoch that could have been scanned: patients lie a little higher,
# lower or tilted, and they are larger or smaller. The network learns that these differences do not
# change what is lung.
#
# Augmentation hurts if its result could not be real, or if it removes what distinguishes the
# classes:
#
# * A shift of 0.4 or a zoom of 2.5 cuts lungs off; a rotation by 150 degrees is a patient in a
#   position that no scanner produces. The network spends weights on images that do not occur.
# * A flipped image has the heart on the right. That is harmless for one class, lung, and wrong for
#   a network that separates the right lung from the left.
# * In Hounsfield units, air is -1000 in every scanner. A random change of intensity removes this
#   fact.
# * Interpolation makes images smoother than test images, and pixels beyond the border are made up.
# * A change of the image without its mask makes the mask wrong. Validation and test images are not
#   augmented, because they have to show the data as they are.

# %% [markdown]
# ## Task 3: augment images and masks
#
# * `augment(image, mask, rng)` applies one random change to an image and its mask, both float32
#   `(rows, columns)`. Draw the shift of rows, the shift of columns, the rotation and the zoom from
#   `rng.uniform`. Image and mask need the same change; the mask needs nearest-neighbour
#   interpolation, so that it stays 0 or 1. Repeat the border pixels outside the image
#   (`cv2.BORDER_REPLICATE`).
# * `batches(images, masks, batch_size, rng)` is a generator. It yields augmented batches
#   `(batch_size, rows, columns, 1)` of images and masks in random order, each image once; an
#   incomplete last batch is left out.


# %% tags=["task"]
def augment(image, mask, rng):
    """Shift by at most 0.1, rotate by at most 10 degrees and zoom by at most 0.1."""
    # BEGIN SOLUTION: task 3: draw one change from rng and apply it to the image and the mask
    rows, columns = image.shape
    rotation, zoom = rng.uniform(-10, 10), rng.uniform(0.9, 1.1)
    matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), rotation, zoom)
    matrix[:, 2] += rng.uniform(-0.1, 0.1, size=2) * (columns, rows)

    def warp(picture, interpolation):
        return cv2.warpAffine(
            picture, matrix, (columns, rows), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
        )

    return warp(image, cv2.INTER_LINEAR), warp(mask, cv2.INTER_NEAREST)
    # END SOLUTION


def batches(images, masks, batch_size, rng):
    """Yield augmented batches of images and masks in random order."""
    # BEGIN SOLUTION: task 3: augment the pairs of each batch and yield two arrays
    order = rng.permutation(len(images))
    for start in range(0, len(images) - batch_size + 1, batch_size):
        chosen = order[start : start + batch_size]
        pairs = [augment(images[i, ..., 0], masks[i, ..., 0], rng) for i in chosen]
        batch_images, batch_masks = (
            np.stack(one)[..., np.newaxis] for one in zip(*pairs, strict=True)
        )
        yield batch_images, batch_masks
    # END SOLUTION


# %% tags=["check"]
rng = np.random.default_rng(0)
square = np.zeros((100, 100), np.float32)
square[40:60, 40:60] = 1
results = [augment(square, square, rng) for _ in range(200)]
image, mask = results[0]
assert image.shape == mask.shape == (100, 100), "augment: keep the shape of image and mask"
assert set(np.unique(mask)) == {0, 1}, "augment: use cv2.INTER_NEAREST for the mask"
moved = [float(np.abs((image > 0.5) ^ (mask > 0.5)).sum()) for image, mask in results]
assert max(moved) < 80, "augment: image and mask need the same change; draw it once"
centres = np.array([np.argwhere(mask > 0.5).mean(0) for _, mask in results]) - 49.5
assert centres.std() > 1, "augment: the shift is the same in every call; draw it from rng"
assert np.abs(centres).max() < 12, "augment: a shift is at most 0.1 of the image"
areas = np.array([mask.sum() for _, mask in results]) / 400
assert 0.7 < areas.min() < 0.9, "augment: the smallest zoom is 0.9"
assert 1.1 < areas.max() < 1.3, "augment: the largest zoom is 1.1"
again = [augment(square, square, np.random.default_rng(5))[0] for _ in range(2)]
assert np.array_equal(*again), "augment: draw all random numbers from rng"
values = np.arange(10, dtype=np.float32)[:, None, None, None] * np.ones((1, 8, 8, 1), np.float32)
found = list(batches(values, (values > 4).astype(np.float32), 4, rng))
assert len(found) == 2, f"batches: 10 images are 2 batches of 4, got {len(found)}"
assert found[0][0].shape == (4, 8, 8, 1), f"batches: wrong shape {found[0][0].shape}"
seen = np.concatenate([images[:, 4, 4, 0] for images, _ in found])
assert len(np.unique(seen.round())) == 8, "batches: use each image at most once"
assert not np.array_equal(seen.round(), np.arange(8)), "batches: the order is random"
for images, masks in found:
    assert np.array_equal(images > 4.5, masks > 0.5), "batches: a mask belongs to another image"
print("Task 3: correct")

# %%
generator = batches(train_images, train_masks, BATCH_SIZE, np.random.default_rng(SEED))
for number, (images, masks) in zip(range(2), generator, strict=False):
    print(f"batch {number + 1}: images {images.shape}, masks {masks.shape}")

# %% [markdown]
# ## Task 4: look at images with their masks
#
# Look at your data before you train on it. `plot_pairs(images, masks)` returns a matplotlib figure
# with one column per image: the image above, and the image with the contour of its mask below. Use
# `show_image` of this notebook.


# %% tags=["task"]
def plot_pairs(images, masks):
    """Plot images and masks (n, rows, columns, 1), one column each."""
    # BEGIN SOLUTION: task 4: make 2 rows of axes with plt.subplots and call show_image for each
    figure, axes = plt.subplots(
        2, len(images), figsize=(2.2 * len(images), 4.6), squeeze=False, layout="constrained"
    )
    for image, mask, above, below in zip(images, masks, *axes, strict=True):
        show_image(above, image[..., 0])
        show_image(below, image[..., 0], f"{mask.mean():.0%} lung", mask[..., 0])
    return figure
    # END SOLUTION


# %% tags=["check"]
y, x = np.indices((32, 32))[..., np.newaxis]
example = (y + x).astype(np.float32)
figure = plot_pairs(np.stack([example] * 3), np.stack([example > 30] * 3))
assert figure is not None, "plot_pairs: return the figure"
assert len(figure.axes) == 6, f"plot_pairs: 3 images need 6 axes, got {len(figure.axes)}"
assert all(axis.images for axis in figure.axes), "plot_pairs: each axis shows an image"
contours = sum(len(axis.collections) > 0 for axis in figure.axes)
assert contours == 3, f"plot_pairs: 3 of the 6 axes have a contour, got {contours}"
plt.close(figure)
print("Task 4: correct")

# %%
chosen = np.linspace(0.15, 0.85, 4) * len(train_images)
chosen = chosen.astype(int)
plot_pairs(train_images[chosen], train_masks[chosen])
plt.show()

# %% [markdown]
# ## Task 5: how a U-Net works
#
# The figure shows the U-Net of this exercise. Boxes are feature maps with their channels and size;
# the numbers are those of an input of 128x128 pixels.

# %% tags=["hide-input"]
maps = {  # name: column, level, channels, pixels per side
    "input": (0, 0, 1, 128),
    "down1": (1, 0, 64, 128),
    "down2": (2, 1, 128, 64),
    "bottom": (3.25, 2, 256, 32),
    "merge2": (4.5, 1, 128, 64),
    "merge1": (5.5, 0, 64, 128),
    "output": (6.5, 0, 1, 128),
}
arrows = (  # from, to, kind
    ("input", "down1", "3x3 convolution"),
    ("down1", "down2", "2x2 max-pooling, then 3x3 convolution"),
    ("down2", "bottom", "2x2 max-pooling, then 3x3 convolution"),
    ("bottom", "merge2", "2x upsampling with 2x2 convolution"),
    ("merge2", "merge1", "2x upsampling with 2x2 convolution"),
    ("merge1", "output", "1x1 convolution"),
    ("down1", "merge1", "skip connection: concatenate, then 3x3 convolution"),
    ("down2", "merge2", "skip connection: concatenate, then 3x3 convolution"),
)
kinds = dict.fromkeys(kind for *_, kind in arrows)
colours = dict(zip(kinds, ("0.2", TRAINING, VALIDATION, "0.6", REFERENCE), strict=True))
figure, axis = plt.subplots(figsize=(9.5, 4), layout="constrained")
for name, (column, level, channels, side) in maps.items():
    width, height = 0.08 + 0.09 * np.log2(channels) / 4, 0.8 / 2**level
    box = (column - width, -level - height / 2)
    axis.add_patch(plt.Rectangle(box, 2 * width, height, facecolor="0.85", edgecolor="0.5"))
    place = (column, -level + height / 2 + 0.05)
    axis.text(*place, f"{name}\n{channels} x {side}²", ha="center", va="bottom", fontsize=8.5)
for start, end, kind in arrows:
    (x0, level0, channels0, _), (x1, level1, channels1, _) = maps[start], maps[end]
    x0 += 0.12 + 0.09 * np.log2(channels0) / 4
    x1 -= 0.12 + 0.09 * np.log2(channels1) / 4
    style = {"arrowstyle": "-|>", "color": colours[kind], "linewidth": 1.8}
    axis.annotate("", (x1, -level1), (x0, -level0), arrowprops=style)
for kind, colour in colours.items():
    axis.plot([], [], color=colour, linewidth=1.8, label=kind)
axis.legend(loc="lower left", frameon=False, fontsize=8.5)
axis.set(xlim=(-0.5, 7), ylim=(-2.9, 0.8))
axis.set_axis_off()
plt.show()

# %% [markdown]
# **Question: how does a U-Net work, and why does it suit segmentation?**

# %% [markdown] tags=["answer"]
# The **contracting path** is that of a network for classification: convolutions find patterns, and
# each pooling halves the resolution, so that a pixel of the next level depends on a larger part of
# the image. This gives context: a dark region inside the chest is lung, outside it is air. The
# exact position is lost.
#
# The **expanding path** doubles the resolution at each level until it is that of the input. Each
# level also gets the feature maps of the same resolution from the contracting path, by a **skip
# connection**. They contain the exact position of borders. The last layer is a 1x1 convolution to
# one number per pixel.
#
# Segmentation needs both, context and position, for every pixel. A U-Net computes all pixels at
# once and consists of convolutions only, so it accepts any image size that its poolings divide.
# Each pixel is a training example, so few images suffice.

# %% [markdown]
# ## Task 6: build the U-Net
#
# Write the network of the figure with layers of PyTorch. Images are tensors `(n, 1, rows,
# columns)`: in PyTorch the channels come second.
#
# * All 3x3 convolutions have `padding=1`, so that they keep the size, and are followed by ReLU.
# * Upsampling is `F.interpolate(x, scale_factor=2)`, then a 2x2 convolution and ReLU. A 2x2
#   convolution makes the image one pixel smaller; `F.pad(x, (0, 1, 0, 1))` adds a column on the
#   right and a row below.
# * Concatenate as `torch.cat([skip, x], dim=1)`; a 3x3 convolution follows.
# * Before the last layer, dropout with probability 0.5.
# * Return logits: the probability is their sigmoid, which the loss computes.


# %% tags=["task"]
class UNet(nn.Module):
    """The U-Net of the exercise: three levels, one convolution each."""

    def __init__(self, channels=(64, 128, 256)):
        super().__init__()
        # BEGIN SOLUTION: task 6: define the convolutions and the dropout
        first, second, third = channels
        self.down1 = nn.Conv2d(1, first, 3, padding=1)
        self.down2 = nn.Conv2d(first, second, 3, padding=1)
        self.bottom = nn.Conv2d(second, third, 3, padding=1)
        self.up2 = nn.Conv2d(third, second, 2)
        self.merge2 = nn.Conv2d(2 * second, second, 3, padding=1)
        self.up1 = nn.Conv2d(second, first, 2)
        self.merge1 = nn.Conv2d(2 * first, first, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Conv2d(first, 1, 1)
        # END SOLUTION
        for parameter in self.parameters():  # initial weights as in Keras
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, images):
        """Map images (n, 1, rows, columns) to logits of the same shape."""
        # BEGIN SOLUTION: task 6: apply the layers and return logits

        def upsample(x, convolution):
            x = F.interpolate(x, scale_factor=2)
            return F.relu(convolution(F.pad(x, (0, 1, 0, 1))))

        skip1 = F.relu(self.down1(images))
        skip2 = F.relu(self.down2(F.max_pool2d(skip1, 2)))
        x = F.relu(self.bottom(F.max_pool2d(skip2, 2)))
        x = torch.cat([skip2, upsample(x, self.up2)], dim=1)
        x = F.relu(self.merge2(x))
        x = torch.cat([skip1, upsample(x, self.up1)], dim=1)
        x = F.relu(self.merge1(x))
        return self.head(self.dropout(x))
        # END SOLUTION


# %% tags=["check"]
network = UNet().eval()
parameters = sum(parameter.numel() for parameter in network.parameters())
assert parameters == 902_593, f"UNet: expected 902,593 parameters, got {parameters:,}"
with torch.no_grad():
    logits = network(torch.randn(2, 1, 32, 48))
    moved = network(torch.zeros(1, 1, 32, 32)) - network(torch.ones(1, 1, 32, 32))
assert logits.shape == (2, 1, 32, 48), f"UNet: expected shape (2, 1, 32, 48), got {logits.shape}"
assert logits.min() < 0, "UNet: all outputs are positive; return logits without ReLU or sigmoid"
assert moved.abs().max() > 0, "UNet: the output does not depend on the image"
network.train()
with torch.no_grad():
    twice = [network(torch.ones(1, 1, 32, 32)) for _ in range(2)]
assert not torch.equal(*twice), "UNet: apply dropout before the last layer"
print("Task 6: correct")

# %% [markdown]
# `pleura` has the same network, with a faster upsampling. Both have the same number of parameters,
# and with the same weights they compute the same logits.

# %%
from pleura.network.exercise import ExerciseUNet

ours, theirs = UNet().eval(), ExerciseUNet().eval()
for name, network in (("this notebook", ours), ("pleura", theirs)):
    print(f"{name:<14}{sum(p.numel() for p in network.parameters()):,} parameters")
with torch.no_grad():
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.copy_(own)
    images = torch.from_numpy(val_images[:2]).permute(0, 3, 1, 2)
    difference = (ours(images) - theirs(images)).abs().max()
print(f"input {tuple(images.shape)}, output {tuple(ours(images).shape)}")
print(f"largest difference of the logits: {difference:.1e}")

# %% [markdown]
# **How much of the image does one output pixel depend on?** Put not-a-number into one input row
# and count the output rows that become not-a-number.

# %%
image = torch.zeros(1, 1, 128, 32)
image[:, :, 64] = torch.nan
with torch.no_grad():
    rows = int(ours(image)[0, 0, :, 16].isnan().sum())
print(f"{rows} of 128 rows")

# %% [markdown]
# This is the receptive field. Deep in a lung, the network does not see the chest wall and has to
# decide by the grey value. One or two more levels would enlarge the receptive field at little
# cost, since deep levels have few pixels.

# %% [markdown]
# ## Task 7: loss, optimiser and accuracy
#
# * `loss_function(logits, targets)` returns a scalar tensor. Choose a loss for two classes, and
#   compute it from the logits (see `torch.nn.functional`).
# * `accuracy(logits, targets)` returns the fraction of pixels whose probability is on the correct
#   side of 0.5.
# * `training_step(network, optimiser, images, masks)` takes one step and returns the loss as a
#   float: set the gradients to zero, compute the loss, compute the gradients (`loss.backward()`),
#   step the optimiser.


# %% tags=["task"]
def loss_function(logits, targets):
    """Return the mean loss over all pixels."""
    # BEGIN SOLUTION: task 7: return the binary cross-entropy of logits
    return F.binary_cross_entropy_with_logits(logits, targets)
    # END SOLUTION


def accuracy(logits, targets):
    """Return the fraction of pixels on the correct side of probability 0.5."""
    # BEGIN SOLUTION: task 7: a probability above 0.5 is a logit above 0
    return float(((logits > 0) == (targets > 0.5)).float().mean())
    # END SOLUTION


def training_step(network, optimiser, images, masks):
    """Take one step of the optimiser and return the loss."""
    # BEGIN SOLUTION: task 7: zero the gradients, compute the loss and its gradients, step
    optimiser.zero_grad()
    loss = loss_function(network(images), masks)
    loss.backward()
    optimiser.step()
    return loss.item()
    # END SOLUTION


# %% tags=["check"]
logits, targets = torch.tensor([[2.0, -1.0], [0.5, -3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
loss = loss_function(logits, targets)
assert loss.ndim == 0, f"loss_function: return the mean over all pixels, got shape {loss.shape}"
right, wrong = loss_function(9 * targets - 4.5, targets), loss_function(4.5 - 9 * targets, targets)
assert right < 0.1 < wrong, "loss_function: correct logits must have a low loss"
extreme = torch.tensor([40.0], requires_grad=True)
loss_function(extreme, torch.tensor([0.0])).backward()
assert extreme.grad > 0.5, "loss_function: no gradient for a very wrong pixel; use a loss of logits"
assert accuracy(torch.tensor([0.3]), torch.tensor([1.0])) == 1, "accuracy: the inputs are logits"
assert accuracy(logits, targets) == 0.5, f"accuracy: expected 0.5, got {accuracy(logits, targets)}"
torch.manual_seed(0)
images = torch.randn(2, 1, 16, 16)
layer = nn.Conv2d(1, 1, 3, padding=1)
optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
losses = [training_step(layer, optimiser, images, (images > 0).float()) for _ in range(40)]
assert isinstance(losses[0], float), "training_step: return the loss as a float"
assert losses[-1] < 0.8 * losses[0], "training_step: the loss does not fall; step the optimiser"
gradients = []
for _ in range(2):
    training_step(layer, torch.optim.SGD(layer.parameters(), lr=0), images, (images > 0).float())
    gradients.append(layer.weight.grad.clone())
assert torch.allclose(*gradients), "training_step: set the gradients to zero before each step"
print("Task 7: correct")

# %% [markdown]
# **Question: which loss did you choose, and why?**

# %% [markdown] tags=["answer"]
# The binary cross-entropy. Each pixel is a question with two answers; the loss is `-log(p)` for a
# pixel of lung with the predicted probability `p`, and `-log(1 - p)` for any other pixel. It is
# smallest on average if `p` is the true frequency, so its probabilities have a meaning, and the
# threshold can be chosen afterwards. Its gradient for a logit is `p - y`, which is large for wrong
# pixels and never vanishes for them.
#
# It is computed from logits, because `p` is rounded to 1 for a logit above 17 in float32, and the
# logarithm of `1 - p` is then infinite, as the next cell shows. Where lung is rare, a Dice loss
# can be added: it measures the overlap and ignores background that both masks agree on.

# %%
logit = torch.tensor([5.0, 15.0, 17.0, 20.0, 50.0])
target = torch.zeros(1)  # the pixel is background
naive = -torch.log(1 - torch.sigmoid(logit))
stable = torch.stack([loss_function(one[None], target) for one in logit])
print("logit               ", *(f"{value:7.0f}" for value in logit))
print("loss of probability ", *(f"{value:7.2f}" for value in naive))
print("loss of logit       ", *(f"{value:7.2f}" for value in stable))

# %% [markdown]
# The optimiser is Adam. A few steps on one batch show that network, loss and optimiser fit
# together: the loss falls.

# %%
torch.manual_seed(SEED)
network = UNet(CHANNELS)
optimiser = torch.optim.Adam(network.parameters(), lr=0.001)
batch = [torch.from_numpy(a[:4]).permute(0, 3, 1, 2) for a in (train_images[5:], train_masks[5:])]
losses = [training_step(network, optimiser, *batch) for _ in range(8)]
print("loss:", " ".join(f"{loss:.3f}" for loss in losses))
with torch.no_grad():
    print(f"accuracy: {accuracy(network(batch[0]), batch[1]):.3f}")

# %% [markdown]
# ## Task 8: the learning rate
#
# The exercise keeps the initial rate up to and including epoch 20, counted from 0. From then on,
# each epoch has a tenth of the rate of the epoch before. Write `learning_rate(epoch, initial)`.


# %% tags=["task"]
def learning_rate(epoch, initial=0.001):
    """Return the learning rate of an epoch, counted from 0."""
    # BEGIN SOLUTION: task 8: return the rate of the schedule
    return initial * 0.1 ** max(0, epoch - 20)
    # END SOLUTION


# %% tags=["check"]
assert learning_rate(0) == 0.001, f"learning_rate: epoch 0 has 0.001, got {learning_rate(0)}"
assert learning_rate(20) == 0.001, "learning_rate: epoch 20 still has the initial rate"
assert np.isclose(learning_rate(21), 1e-4), "learning_rate: epoch 21 has a tenth of the rate"
assert np.isclose(learning_rate(23), 1e-6), (
    "learning_rate: each epoch has a tenth of the one before"
)
assert np.isclose(learning_rate(22, 0.5), 0.005), "learning_rate: multiply by the initial rate"
print("Task 8: correct")

# %% [markdown]
# **Question: why a schedule, and what does this one do?** Adam changes a weight by about the
# learning rate in each step, so the sum of the rates tells how far a weight can move.

# %%
epochs, steps = np.arange(EPOCHS), len(train_images) // BATCH_SIZE
rates = np.array([learning_rate(epoch) for epoch in epochs])
figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
axis.step(epochs, rates, where="mid", color=TRAINING)
axis.set(yscale="log", xlabel="epoch", ylabel="learning rate")
plt.show()
print(f"a weight can move by {steps * rates[:21].sum():.4f} in epochs 0 to 20")
print(f"                 and {steps * rates[21:].sum():.4f} in epochs 21 to 39")

# %% [markdown] tags=["answer"]
# Long steps come near a minimum fast, but then jump over it, because each batch has another
# gradient. Short steps come close, but would need very many. Therefore: long steps first, short
# ones at the end.
#
# This schedule falls very fast. The last 19 epochs together move a weight about as far as one
# earlier step. The loss curves become flat there because the rate is nearly 0, not because nothing
# is left to learn. A cosine or a one-cycle schedule, as in the recipe `exercise-plus`, uses the
# last epochs better.

# %% [markdown]
# ## Task 9: train for 40 epochs
#
# `pleura.train` reads the folders, splits and prepares the pairs as in task 1, and trains *your*
# network with *your* loss, *your* augmentation and *your* schedule. A recipe contains the other
# settings: the size, the batch size, Adam, and the initial learning rate.

# %%
recipe

# %% [markdown]
# With the sample, a warning names slices of one patient in the training and the validation set:
# the sample has three patients only. The test patient is in neither set.

# %% tags=["scroll-output"]
initial = recipe.schedule.learning_rate
torch.manual_seed(SEED)  # initial weights
run = pleura.train(
    IMAGES,
    MASKS,
    RUN,
    recipe,
    network=UNet(CHANNELS),
    loss=loss_function,
    augmentation=augment,
    schedule=lambda epoch: learning_rate(epoch, initial),
    options=pleura.TrainingOptions(overwrite=True),
)

# %% [markdown]
# The history has one row per epoch. The rates are those of your schedule.

# %%
history = run.history()
expected = [learning_rate(epoch, initial) for epoch in range(EPOCHS)]
print("rates equal:", np.allclose([row["learning_rate"] for row in history], expected, atol=1e-15))
{name: round(value, 4) for name, value in history[-1].items()}

# %% [markdown]
# Plot the losses: `plot_losses(history)` returns a figure with the columns `loss` (training) and
# `validation_loss` over the `epoch`, with a legend.


# %% tags=["task"]
def plot_losses(history):
    """Plot training and validation loss by epoch."""
    # BEGIN SOLUTION: task 9: plot two lines with labels, and add the names of the axes
    epochs = [row["epoch"] for row in history]
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    axis.plot(epochs, [row["loss"] for row in history], color=TRAINING, label="training")
    validation = [row["validation_loss"] for row in history]
    axis.plot(epochs, validation, color=VALIDATION, label="validation")
    axis.set(xlabel="epoch", ylabel="binary cross-entropy", yscale="log")
    axis.legend(frameon=False)
    return figure
    # END SOLUTION


# %% tags=["check"]
example = [{"epoch": i, "loss": 1 / i, "validation_loss": 2 / i} for i in (1, 2, 3)]
figure = plot_losses(example)
assert figure is not None, "plot_losses: return the figure"
lines = figure.axes[0].lines
assert len(lines) == 2, f"plot_losses: plot two lines, got {len(lines)}"
assert np.allclose(lines[0].get_ydata(), [1, 1 / 2, 1 / 3]), (
    "plot_losses: plot the training loss first"
)
assert np.allclose(lines[1].get_ydata(), [2, 1, 2 / 3]), (
    "plot_losses: plot the validation loss second"
)
assert figure.axes[0].get_xlabel(), "plot_losses: label the axes"
assert figure.axes[0].get_legend() is not None, "plot_losses: add a legend"
plt.close(figure)
print("Task 9: correct")

# %%
plot_losses(history)
plt.show()

# %% [markdown]
# A run also displays itself: loss, accuracy and learning rate.

# %%
run

# %% [markdown]
# ## Task 10: evaluate on the test set
#
# The test images were used for nothing so far. Aim for an accuracy above 0.9.

# %%
evaluation = pleura.evaluate(run, IMAGES, MASKS)
background = 1 - test_masks.mean()
print(f"test loss {evaluation.loss:.4f}")
print(f"test accuracy {evaluation.accuracy:.4f}; a mask without any lung has {background:.4f}")

# %% [markdown]
# **Question: is this accuracy good?**

# %% [markdown] tags=["answer"]
# It is above 0.9, but that alone means little: an empty mask also has a high accuracy, because
# most pixels are background. The accuracy has to be compared with that of the empty mask, which
# the cell prints. A better measure of a mask follows in task 12.

# %% [markdown]
# ## Task 11: over-fitting
#
# **Question: does your run over-fit? How can over-fitting be recognised?** For comparison, the
# next cell provokes it: a network without dropout and augmentation is trained on four images only.

# %%
few = slice(len(train_images) // 3, len(train_images) // 3 + 4)
tensors = [
    torch.from_numpy(one[:, ::2, ::2] if SIZE > 64 else one).permute(0, 3, 1, 2)
    for one in (train_images[few], train_masks[few], val_images, val_masks)
]
torch.manual_seed(SEED)
network = UNet((16, 32, 64)).eval()  # eval: without dropout
optimiser = torch.optim.Adam(network.parameters(), lr=0.003)
over_fitting = []
for step in range(200):
    loss = training_step(network, optimiser, *tensors[:2])
    if step % 20 == 19:
        with torch.no_grad():
            validation_loss = loss_function(network(tensors[2]), tensors[3])
        over_fitting.append(
            {"epoch": step + 1, "loss": loss, "validation_loss": float(validation_loss)}
        )
figure = plot_losses(over_fitting)
figure.axes[0].set(xlabel="step", title="Over-fitting to four images")
plt.show()
last, least = history[-1], min(row["validation_loss"] for row in history)
print(f"your run: training {last['loss']:.3f}, validation {last['validation_loss']:.3f} at the end")
print(f"          validation {least:.3f} at its best")

# %% [markdown] tags=["answer"]
# Over-fitting is learning what is true of the training images only. The training loss continues to
# fall while the validation loss **rises and stays high**, as in the figure above. The run of task
# 9 does not over-fit: its validation loss does not rise, and it ends below the training loss.
#
# * A gap alone is no sign. The training loss is measured with dropout and augmentation, the
#   validation loss without, so either can be lower.
# * A single peak is noise or a rate that is too high.
# * If validation images come from patients of the training set, as in the sample, the curves
#   cannot show over-fitting to patients. Split by patient.
#
# **Three ways to avoid it:**
#
# 1. More variety: more patients, or augmentation.
# 2. A network that can memorise less: fewer channels, dropout, weight decay.
# 3. Stopping in time: fewer epochs, or an average of the weights over the last steps.
#
# Whatever is chosen by the validation set can fit that set too well. This is why there is a test
# set, which is used once, at the end.

# %% [markdown]
# ## Task 12: intersection over union
#
# The intersection over union (IoU) of a reference mask A and a predicted mask B is the number of
# pixels that are in both, divided by the number of pixels that are in at least one.
#
# Write `iou(reference, prediction)` for two masks of one shape, in which every value except 0 is
# lung. If both masks are empty, the IoU is 0/0: return `nan`.


# %% tags=["task"]
def iou(reference, prediction):
    """Return the intersection over union of two masks; nan if both are empty."""
    # BEGIN SOLUTION: task 12: count the pixels in both masks and in at least one
    reference, prediction = reference != 0, prediction != 0
    union = np.count_nonzero(reference | prediction)
    return np.count_nonzero(reference & prediction) / union if union else float("nan")
    # END SOLUTION


# %% tags=["check"]
left, right = np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 0]])
assert iou(left, left) == 1, f"iou: equal masks have 1, got {iou(left, left)}"
assert np.isclose(iou(left, right), 1 / 3), f"iou: expected 1/3, got {iou(left, right)}"
assert iou(left, 1 - left) == 0, "iou: masks without common pixels have 0"
assert iou(left, 0 * left) == 0, "iou: if one mask is empty, the IoU is 0"
assert np.isnan(iou(0 * left, 0 * left)), "iou: two empty masks have nan"
assert np.isclose(iou(255 * left, right > 0), 1 / 3), "iou: every value except 0 is lung"
print("Task 12: correct")

# %% [markdown]
# **Question: why IoU and not accuracy?** The figure and the table compare them for one reference
# and four predictions.

# %%
areas = test_masks.sum((1, 2, 3))
reference = test_masks[np.argsort(areas)[len(areas) // 4], ..., 0] > 0
image = test_images[np.argsort(areas)[len(areas) // 4], ..., 0]
wider = cv2.dilate(reference.astype(np.uint8), np.ones((3, 3))) > 0
predictions = {
    "empty": np.zeros_like(reference),
    "moved by 3 pixels": np.roll(reference, 3, axis=1),
    "1 pixel wider": wider,
    "equal": reference,
}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9), layout="constrained")
for axis, (name, prediction) in zip(axes, predictions.items(), strict=True):
    equal = np.mean(reference == prediction)
    title = f"{name}\naccuracy {equal:.3f}, IoU {iou(reference, prediction):.3f}"
    show_image(axis, image, title, reference)
    if prediction.any():
        axis.contour(prediction, levels=[0.5], colors=[PREDICTION], linewidths=1.3)
figure.suptitle("Reference green, prediction yellow", fontsize=9)
plt.show()

# %% [markdown] tags=["answer"]
# The IoU ignores the background that both masks agree on. An empty mask has an IoU of 0, although
# most of its pixels are correct. A shift by a few pixels reduces the IoU clearly and the accuracy
# hardly.
#
# The IoU is strict with small lungs: a contour that is wrong by one pixel costs a thin lung more
# than a large one. The Dice coefficient is `2 |A and B| / (|A| + |B|)`, which is `2 IoU / (1 +
# IoU)`. It ranks masks in the same order and is never smaller than the IoU.

# %% [markdown]
# ## Task 13: mean IoU of the test set
#
# First predict the probability of each test image. Then write `mean_iou(probabilities, masks,
# threshold)`: a pixel is lung if its probability is at least the threshold. The mean is over
# images; images with an undefined IoU are left out.

# %%
predictor = pleura.Predictor(run)
test_logits = predictor.logits(test_images[..., 0])
probabilities = torch.sigmoid(torch.from_numpy(test_logits)).numpy()[..., np.newaxis]
print(
    f"probabilities {probabilities.shape}, {probabilities.min():.3f} to {probabilities.max():.3f}"
)


# %% tags=["task"]
def mean_iou(probabilities, masks, threshold):
    """Return the mean IoU over images at a threshold."""
    # BEGIN SOLUTION: task 13: average the IoU of each image, without nan
    pairs = zip(masks, probabilities, strict=True)
    return float(np.nanmean([iou(mask, probability >= threshold) for mask, probability in pairs]))
    # END SOLUTION


# %% tags=["check"]
masks = np.zeros((3, 1, 4, 1))
masks[0, 0, :2], masks[1, 0, 1] = 1, 1
example = np.array([[0.9, 0.6, 0.3, 0.0], [0.0, 0.2, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0]])
example = example.reshape(3, 1, 4, 1)
assert np.isclose(mean_iou(example, masks, 0.5), 0.5), "mean_iou: 1 and 0, nan is left out: 0.5"
assert np.isclose(mean_iou(example, masks, 0.1), 7 / 12), (
    "mean_iou: 2/3 and 1/2 have a mean of 7/12"
)
assert np.isclose(mean_iou(example, masks, 0.2), 7 / 12), "mean_iou: the threshold itself is lung"
print("Task 13: correct")

# %%
print(f"mean test IoU at threshold 0.1: {mean_iou(probabilities, test_masks, 0.1):.4f}")
print(f"mean test IoU at threshold 0.5: {mean_iou(probabilities, test_masks, 0.5):.4f}")
summary = evaluation.overlaps["network"][0.1].summary()
print(f"of pleura at threshold 0.1:     {summary['iou'].mean:.4f}")

# %% [markdown]
# **Question: is 0.1 a good threshold?** Choose a threshold with the validation set, not with the
# test set.

# %%
val_logits = predictor.logits(val_images[..., 0])
val_probabilities = torch.sigmoid(torch.from_numpy(val_logits)).numpy()[..., np.newaxis]
thresholds = np.linspace(0.05, 0.95, 19)
figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
for name, maps, masks, colour in (
    ("validation", val_probabilities, val_masks, VALIDATION),
    ("test", probabilities, test_masks, "0.4"),
):
    values = [mean_iou(maps, masks, threshold) for threshold in thresholds]
    axis.plot(thresholds, values, color=colour, label=name)
axis.axvline(0.1, color="0.7", linestyle=":")
axis.set(xlabel="threshold", ylabel="mean IoU")
axis.legend(frameon=False)
plt.show()

# %% [markdown] tags=["answer"]
# No. At 0.1 every pixel counts as lung that the network takes for lung with a probability of only
# 10 %, so the masks are too large. The mean IoU of the validation set is higher at 0.5 than at
# 0.1, and the test set confirms it. A low threshold is reasonable only where a missed pixel costs
# more than a wrong one.

# %% [markdown]
# ## Task 14: look at cases
#
# A mean hides the worst case. Show test images of three bands of IoU: [0.85, 0.9), [0.9, 0.95) and
# [0.95, 1]. Write `choose_cases(scores, bands)`. It returns the index of four scores: for each
# band, a score within it, or the nearest score if the band is empty; and the lowest score of all
# that are left. `nan` is never chosen, and no score twice. The upper limit belongs to a band only
# if it is 1.


# %% tags=["task"]
def choose_cases(scores, bands):
    """Return one index for each band, and that of the lowest remaining score."""
    # BEGIN SOLUTION: task 14: choose a score for each band, then the lowest that is left
    remaining = {i: score for i, score in enumerate(scores) if not np.isnan(score)}
    chosen = []
    for low, high in bands:

        def distance(i, low=low, high=high):
            score = remaining[i]
            inside = low <= score < high or score == high == 1
            return 0 if inside else max(low - score, score - high, 1e-9)

        chosen.append(min(remaining, key=distance))
        del remaining[chosen[-1]]
    return [*chosen, min(remaining, key=remaining.get)]
    # END SOLUTION


# %% tags=["check"]
bands = ((0.85, 0.9), (0.9, 0.95), (0.95, 1.0))
chosen = choose_cases([0.5, 0.96, np.nan, 0.9, 0.87, 0.4], bands)
assert len(chosen) == 4, f"choose_cases: return four indices, got {len(chosen)}"
assert list(chosen[:3]) == [4, 3, 1], (
    f"choose_cases: expected 4, 3 and 1 for the bands, got {chosen}"
)
assert chosen[3] == 5, "choose_cases: the last one is the lowest score"
chosen = choose_cases([0.93, np.nan, 0.91, 0.7, 0.2], bands)
assert len(set(chosen)) == 4, "choose_cases: no score twice"
assert 1 not in chosen, "choose_cases: nan is never chosen"
assert choose_cases([1.0, 0.86, 0.91, 0.2], bands)[2] == 0, (
    "choose_cases: 1 belongs to the last band"
)
print("Task 14: correct")

# %%
threshold = 0.5
scores = [iou(m, p >= threshold) for m, p in zip(test_masks, probabilities, strict=True)]
chosen = choose_cases(scores, bands)
figure, axes = plt.subplots(2, 4, figsize=(10, 5.2), layout="constrained")
titles = [f"[{low:g}, {high:g}{']' if high == 1 else ')'}" for low, high in bands]
for above, below, i, title in zip(*axes, chosen, [*titles, "lowest IoU left"], strict=True):
    image, mask = test_images[i, ..., 0], test_masks[i, ..., 0]
    prediction = probabilities[i, ..., 0] >= threshold
    show_image(above, image, f"{title}\n{Path(test_names[i]).stem}", mask)
    show_image(below, image, f"IoU {scores[i]:.3f}", prediction, PREDICTION)
figure.suptitle("Reference (green, above) and prediction (yellow, below)", fontsize=10)
plt.show()
for title, (low, high) in zip(titles, bands, strict=True):
    count = sum(low <= score < high or score == high == 1 for score in scores)
    print(f"{title:<13}{count:>3} of {len(scores)} test images")

# %% [markdown]
# **Question: what do the worst cases have in common? Is each error one of the network?**

# %% [markdown] tags=["answer"]
# They have little lung, so that an error of one pixel at the border counts much; or they have dark
# regions that are not lung: bowel gas, the trachea, air around the patient. Some errors are in the
# reference. In the full set, the reference of `ID_0254_Z_0075` in the test subset marks air around
# the patient, and `pleura check` reports it.

# %% [markdown]
# ## Next steps
#
# * Train with better choices: `pleura.train(IMAGES, MASKS, "runs/plus", "exercise-plus")`.
# * Export the network as one file with `pleura.export(run, "lungs.onnx")`.
# * Segment whole scans, with the model of the package or your own: see the notebook "Segment your
#   own DICOM and measure it".
