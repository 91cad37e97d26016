import pytest

from pleura.training.recipe import load_recipe

TINY = (
    "preparation.size=[32, 32]",
    "network.filters=[4, 8, 16]",
    "training.epochs=3",
    "training.batch_size=8",
    "training.precision=fp32",
    "training.threads=1",
)


@pytest.fixture(scope="session")
def tiny(sample):
    """A recipe that trains on the sample in a second."""
    return load_recipe("exercise", [*TINY, "split.method=file", f"split.file={sample.split}"])
