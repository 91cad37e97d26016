"""The course exercise in Keras, the peer that recipe `exercise` is measured against.

Written for this benchmark from the exercise's text: same data, split, network, loss, optimiser,
schedule and augmentation. Runs in an environment of its own (requirements-keras.txt), so it
shares no code with pleura and is an independent oracle for its numbers.

    python benchmarks/keras_exercise.py IMAGES MASKS --scaling max --seed 220 --json out.json
"""

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras.src.legacy.preprocessing.image import ImageDataGenerator

SIDE = 128
BATCH = 16


def load(images: Path, masks: Path, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """All pairs in sorted order: images and masks, both float32 (n, 128, 128, 1)."""
    loaded_images, loaded_masks = [], []
    for path in sorted(images.glob("*.tif")):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32)
        mask = cv2.imread(str(masks / path.name), cv2.IMREAD_UNCHANGED).astype(np.float32)
        if scaling == "max":
            image = image / image.max()
        else:
            image = (image - image.min()) / (image.max() - image.min())
        # Not in the exercise, whose masks all hold lung: an empty mask stays empty.
        mask = (mask / (mask.max() or 1)).astype(np.int32).astype(np.float32)
        loaded_images.append(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_LANCZOS4))
        loaded_masks.append(cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST))
    return np.stack(loaded_images)[..., None], np.stack(loaded_masks)[..., None]


def unet() -> keras.Model:
    conv = {"activation": "relu", "padding": "same"}
    inputs = layers.Input((SIDE, SIDE, 1))
    skip1 = layers.Conv2D(64, 3, **conv)(inputs)
    skip2 = layers.Conv2D(128, 3, **conv)(layers.MaxPooling2D(2)(skip1))
    x = layers.Conv2D(256, 3, **conv)(layers.MaxPooling2D(2)(skip2))
    x = layers.Conv2D(128, 2, **conv)(layers.UpSampling2D(2)(x))
    x = layers.Conv2D(128, 3, **conv)(layers.concatenate([skip2, x]))
    x = layers.Conv2D(64, 2, **conv)(layers.UpSampling2D(2)(x))
    x = layers.Conv2D(64, 3, **conv)(layers.concatenate([skip1, x]))
    x = layers.Dropout(0.5)(x)
    outputs = layers.Conv2D(1, 1, activation="sigmoid")(x)
    return keras.Model(inputs, outputs)


def learning_rate(epoch: int, _: float) -> float:
    return 0.001 if epoch < 20 else 0.001 * 0.1 ** (epoch - 20)


def iou(reference: np.ndarray, prediction: np.ndarray) -> float:
    union = (reference | prediction).sum()
    return float((reference & prediction).sum() / union) if union else float("nan")


class Clock(keras.callbacks.Callback):
    """Seconds from one step's end to the next one's in an epoch, and of each validation.

    The first epoch is warm-up and left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.validations: list[float] = []
        self._step = self._validation = 0.0

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        now = time.perf_counter()
        if batch > 0:
            self.steps.append(now - self._step)
        self._step = now

    def on_test_begin(self, logs: object = None) -> None:
        self._validation = time.perf_counter()

    def on_test_end(self, logs: object = None) -> None:
        self.validations.append(time.perf_counter() - self._validation)

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if epoch == 0:  # the graph is traced and compiled here
            self.steps.clear()
            self.validations.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--scaling", choices=["max", "minmax"], default="max")
    parser.add_argument("--seed", type=int, default=220)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, help="as many as there are cores if unset")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    if options.threads:
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    keras.utils.set_random_seed(options.seed)
    images, masks = load(options.images, options.masks, options.scaling)
    n_train, n_validation = int(len(images) * 0.6), int(len(images) * 0.2)
    train = slice(0, n_train)
    validation = slice(n_train, n_train + n_validation)
    test = slice(n_train + n_validation, None)
    steps = n_train // BATCH

    move = {
        "width_shift_range": 0.1,
        "height_shift_range": 0.1,
        "rotation_range": 10,
        "zoom_range": 0.1,
    }
    image_batches = ImageDataGenerator(**move).flow(
        images[train], batch_size=BATCH, seed=options.seed
    )
    mask_batches = ImageDataGenerator(**move).flow(
        masks[train], batch_size=BATCH, seed=options.seed
    )

    def batches():
        while True:
            yield next(image_batches), next(mask_batches)

    shape = tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=(shape, shape))
    model = unet()
    model.compile(
        optimizer=keras.optimizers.Adam(), loss="binary_crossentropy", metrics=["accuracy"]
    )
    clock = Clock()
    begin = time.perf_counter()
    history = model.fit(
        dataset,
        steps_per_epoch=steps,
        epochs=options.epochs,
        validation_data=(images[validation], masks[validation]),
        callbacks=[keras.callbacks.LearningRateScheduler(learning_rate), clock],
        verbose=2,
    ).history
    train_seconds = time.perf_counter() - begin

    test_loss, test_accuracy = model.evaluate(images[test], masks[test], verbose=0)
    probability = model.predict(images[test], verbose=0)
    reference = masks[test] > 0.5
    scores = {
        threshold: [iou(r, p) for r, p in zip(reference, probability > threshold, strict=True)]
        for threshold in (0.1, 0.5)
    }
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "peer": "keras",
        "versions": {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "python": platform.python_version(),
        },
        "threads": options.threads or len(os.sched_getaffinity(0)),
        "precision": "fp32",
        "scaling": options.scaling,
        "seed": options.seed,
        "epochs": options.epochs,
        "parameters": model.count_params(),
        "validation_accuracy": history["val_accuracy"][-1],
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "test_iou_0.1": float(np.nanmean(scores[0.1])),
        "test_iou_0.5": float(np.nanmean(scores[0.5])),
        "train_seconds": train_seconds,
        "steps_per_second": 1 / float(np.median(clock.steps)) if clock.steps else None,
        "validation_seconds": float(np.median(clock.validations)) if clock.validations else None,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_mb": used.ru_maxrss / 1024,
        "history": {key: [float(v) for v in values] for key, values in history.items()},
    }
    print(json.dumps({k: v for k, v in result.items() if k != "history"}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
