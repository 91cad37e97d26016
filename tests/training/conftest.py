import pytest


@pytest.fixture(autouse=True)
def trainings_without_figures(no_figures):
    """Only the shared runs, which are trained before, have figures."""
