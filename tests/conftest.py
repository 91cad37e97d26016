"""The data that tests run on: the sample that ships with the project, and larger sets if there."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

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
def small_settings() -> tuple[str, ...]:
    """Of recipe `quick`: enough to find lungs in HU, in seconds."""
    return (
        "preparation.size=[64, 64]",
        "network.filters=[8, 16, 32]",
        "schedule.learning_rate=0.01",
        "training.epochs=12",
        "training.batch_size=4",
        "training.precision=fp32",
    )


@pytest.fixture(scope="session")
def small_run(sample, small_settings, tmp_path_factory):
    """A run that has learned enough to find lungs in HU, in seconds."""
    from pleura.training.loop import train
    from pleura.training.recipe import load_recipe

    overrides = [
        *small_settings,
        "augmentation=null",
        "split.method=file",
        f"split.file={sample.split}",
    ]
    folder = tmp_path_factory.mktemp("runs") / "small"
    return train(sample.images, sample.masks, folder, load_recipe("quick", overrides))


@pytest.fixture(scope="session")
def model(small_run, tmp_path_factory):
    """That run as a model file."""
    from pleura.training.export import export

    path = tmp_path_factory.mktemp("models") / "small.onnx"
    export(small_run, path)
    return path
