import pytest


@pytest.fixture(autouse=True)
def trainings_without_figures(no_figures):
    """Only the shared runs, which are trained before, have figures."""


@pytest.fixture(scope="module")
def no_figures_in_module():
    """Neither trainings nor evaluations draw figures."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("train.preview_figure", "trainer.curves_figure", "evaluation._write_figure"):
            patch.setattr(f"pleura.training.{name}", lambda *_, **__: None)
        for name in ("train", "trainer"):
            patch.setattr(f"pleura.training.{name}.save_figure", lambda *_, **__: None)
        yield
