"""HTML of results, for notebooks."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from pleura.figures.backend import Figure

_LEFT, _RIGHT = "text-align: left", "text-align: right; white-space: nowrap"


def html_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str = "",
    *,
    numeric: bool = False,
) -> str:
    """Return an HTML table; all text is escaped. A table that is too wide can be scrolled.

    Parameters
    ----------
    columns:
        Names of the columns; empty for a table without a header.
    rows:
        Cells of each row.
    caption:
        Text above the table.
    numeric:
        Align all columns but the first to the right.
    """
    head = _row("th", columns, numeric)
    body = "".join(_row("td", row, numeric) for row in rows)
    return (
        '<div style="overflow-x: auto"><table>'
        + (f'<caption style="text-align: left">{escape(caption)}</caption>' if caption else "")
        + (f"<thead>{head}</thead>" if columns else "")
        + f"<tbody>{body}</tbody></table></div>"
    )


def html_image(image: NDArray[np.uint8], description: str) -> str:
    """Return an HTML image of pixels (rows, columns, 3), with a description for screen readers."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return _html_png(content, description)


def html_figure(figure: Figure, description: str) -> str:
    """Return an HTML image of a figure, with a description for screen readers."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return _html_png(content, description)


def _html_png(content: io.BytesIO, description: str) -> str:
    address = base64.b64encode(content.getvalue()).decode()
    source = f"data:image/png;base64,{address}"
    return f'<img src="{source}" alt="{escape(description)}" style="max-width: 100%">'


def _row(tag: str, cells: Sequence[Any], numeric: bool) -> str:
    styles = [_LEFT if i == 0 or not numeric else _RIGHT for i in range(len(cells))]
    html = (
        f'<{tag} style="{style}">{escape(str(cell))}</{tag}>'
        for style, cell in zip(styles, cells, strict=True)
    )
    return f"<tr>{''.join(html)}</tr>"
