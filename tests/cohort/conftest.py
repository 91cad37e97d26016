import pytest

from pleura.cohort.work import Settings


@pytest.fixture
def settings(model):
    return Settings(str(model), precision="fp32")
