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


def html_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """Return an HTML table; all text is escaped.

    Parameters
    ----------
    columns:
        Names of the columns; empty for a table without a header.
    rows:
        Cells of each row; the first one is aligned to the left, the others to the right.
    caption:
        Text above the table.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(map(_cell, row, range(len(row)))) + "</tr>" for row in rows)
    return (
        "<table>"
        + (f'<caption style="text-align: left">{escape(caption)}</caption>' if caption else "")
        + (f"<thead><tr>{head}</tr></thead>" if columns else "")
        + f"<tbody>{body}</tbody></table>"
    )


def html_image(image: NDArray[np.uint8]) -> str:
    """Return an HTML image, with the pixels (rows, columns, 3) as PNG in its address."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return _html_png(content)


def html_figure(figure: Figure) -> str:
    """Return an HTML image of a figure, as PNG in its address."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return _html_png(content)


def _html_png(content: io.BytesIO) -> str:
    address = base64.b64encode(content.getvalue()).decode()
    return f'<img src="data:image/png;base64,{address}" style="max-width: 100%">'


def _cell(value: Any, column: int) -> str:
    align = "right" if column else "left"
    return f'<td style="text-align: {align}">{escape(str(value))}</td>'
