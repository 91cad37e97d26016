"""The data that tests run on, and the runs and models that they share."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

# Small networks train no faster on several threads; pytest-xdist has one process per core. It is
# read when NumPy and PyTorch are first imported, and by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """60 slices of three patients with masks; see data/sample/README.md."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def masks(self) -> Path:
        return self.folder / "masks"

    @property
    def split(self) -> Path:
        return self.folder / "split.csv"


@pytest.fixture(scope="session")
def sample() -> Sample:
    return Sample(TESTS / "data" / "sample")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of larger public sets that cannot ship: PLEURA_DATA, or .data of the project."""
    folder = Path(os.environ.get("PLEURA_DATA", TESTS.parent / ".data"))
    if not folder.is_dir():
        pytest.skip(f"needs public data sets in {folder} (set PLEURA_DATA)")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return a function that makes a folder once for all processes of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def make(name, write):
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                write(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def small_settings() -> tuple[str, ...]:
    """Of recipe `quick`: enough to find lungs in HU, in seconds."""
    return (
        "preprocessing.size=[64, 64]",
        "network.channels=[8, 16, 32]",
        "schedule.learning_rate=0.01",
        "training.epochs=12",
        "training.batch_size=4",
        "training.precision=fp32",
    )


@pytest.fixture(scope="session")
def small_run(sample, small_settings, made_once):
    """A run that has learned enough to find lungs in HU, in seconds. Copy it to change it."""
    from pleura.training.recipe_loading import load_recipe
    from pleura.training.run import open_run
    from pleura.training.train import train

    overrides = [
        *small_settings,
        "augmentation=null",
        "split.method=file",
        f"split.file={sample.split}",
    ]
    recipe = load_recipe("quick", overrides)
    return open_run(
        made_once("small", lambda folder: train(sample.images, sample.masks, folder, recipe))
    )


@pytest.fixture(scope="session")
def model(small_run, made_once):
    """That run as a model file."""
    from pleura.training.export import export

    return made_once("small.onnx", lambda path: export(small_run, path))


@pytest.fixture(scope="session")
def grey_images(sample, made_once):
    """The images of the sample as 8-bit PNG, in a window of -1024 to 600 HU."""
    from pleura.formats.image_files import read_image_file, write_image_file
    from pleura.intensity.grey import to_grey

    def write(folder):
        folder.mkdir()
        for path in sample.images.iterdir():
            grey = to_grey(read_image_file(path), -1024, 600).astype("uint8")
            write_image_file(folder / f"{path.stem}.png", grey)

    return made_once("grey-images", write)


@pytest.fixture(scope="session")
def grey_run(sample, grey_images, small_settings, made_once):
    """A run on these images, whose scaling does not depend on the units."""
    from pleura.training.recipe_loading import load_recipe
    from pleura.training.run import open_run
    from pleura.training.train import train

    overrides = [*small_settings, "augmentation=null", "preprocessing.scaling=minmax"]
    recipe = load_recipe("quick", overrides)
    return open_run(made_once("grey", lambda run: train(grey_images, sample.masks, run, recipe)))


@pytest.fixture(scope="session")
def grey_model(grey_run, made_once):
    """That run as a model file."""
    from pleura.training.export import export

    return made_once("grey.onnx", lambda path: export(grey_run, path))


@pytest.fixture(scope="session")
def tiny(sample):
    """A recipe that trains on the sample in a second."""
    from pleura.training.recipe_loading import load_recipe

    overrides = [
        "preprocessing.size=[32, 32]",
        "network.channels=[4, 8, 16]",
        "training.epochs=3",
        "training.batch_size=8",
        "training.precision=fp32",
        "training.threads=1",
        "evaluation.additional_size=[64, 64]",
        "split.method=file",
        f"split.file={sample.split}",
    ]
    return load_recipe("exercise", overrides)


@pytest.fixture
def no_figures(monkeypatch):
    """Trainings draw no figures, which takes longer than the training of a small network."""
    pytest.importorskip("torch")
    names = (
        "train.preview_figure",
        "train.save_figure",
        "trainer.curves_figure",
        "trainer.save_figure",
    )
    for name in names:
        monkeypatch.setattr(f"pleura.training.{name}", lambda *_, **__: None)


@pytest.fixture(scope="session")
def tiny_run(sample, tiny, made_once):
    """A run of that recipe. Copy it to change it."""
    from pleura.training.run import open_run
    from pleura.training.train import train

    return open_run(
        made_once("tiny", lambda folder: train(sample.images, sample.masks, folder, tiny))
    )
