"""The parts of matplotlib that figures use; matplotlib is an optional dependency."""

from __future__ import annotations

from pleura.errors import PleuraError

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle
except ImportError as _error:
    raise PleuraError(
        "matplotlib is not installed; figures require it",
        where=None,
        hint='run pip install "pleura[plot]"',
    ) from _error

__all__ = ["Axes", "ConstrainedLayoutEngine", "Figure", "Line2D", "Rectangle"]
