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
