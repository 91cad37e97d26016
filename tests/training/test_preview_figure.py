import pytest
from matplotlib.figure import Figure

import pleura


@pytest.mark.parametrize("suffix", [None, ".png", ".svg"])
def test_preview_returns_a_figure_and_writes_it_on_request(sample, tmp_path, suffix):
    output = None if suffix is None else tmp_path / f"pairs{suffix}"
    figure = pleura.preview(sample.images, sample.masks, output, "quick", number=2)
    assert isinstance(figure, Figure)
    assert len(str(figure.get_label()).split("\n")) == 2
    assert output is None or output.stat().st_size > 1000


def test_preview_with_the_recipe_of_a_run(sample, small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the recipe names the split file of the run
    figure = pleura.preview(sample.images, sample.masks, recipe=small_run.recipe, number=1)
    assert (
        str(figure.get_label())
        in small_run.split(
            [pair.name for pair in pleura.find_pairs(sample.images, sample.masks)]
        ).training
    )
