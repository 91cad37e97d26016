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
