"""`pleura preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    echo,
    images_argument,
    json_option,
    optional_masks_argument,
    require_masks,
    roi_option,
    roi_overrides,
    write_json,
)
from pleura.cli.types import WholeNumber

if TYPE_CHECKING:
    from pleura.masks.selection import RoiSelection

_EPILOG = """\
\b
Examples:
  pleura preview images/ masks/ -o pairs.png
  pleura preview images/ masks/ --recipe exercise-plus --number 6 -o pairs.png
"""


@click.command("preview", epilog=_EPILOG)
@images_argument
@optional_masks_argument
@click.option(
    "--output", "-o", type=PATH, required=True, help="Image file to write (.png, .pdf, .svg)."
)
@click.option(
    "--recipe", "-r", default="exercise", show_default=True, help="Name of a recipe, or .yaml file."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe value."
)
@click.option(
    "--number",
    "-n",
    type=WholeNumber(1, 20),
    default=4,
    show_default=True,
    help="Number of pairs.",
)
@roi_option
@json_option
def command(
    images: Path,
    masks: Path | None,
    output: Path,
    recipe: str,
    overrides: tuple[str, ...],
    number: int,
    roi: RoiSelection | None,
    json_file: Path | None,
) -> None:
    """Write a figure of training images with their masks, before and after augmentation.

    Needs `pip install "pleura[check,plot]"`.
    """
    from pleura.training.preview import preview
    from pleura.training.recipe_loading import load_recipe

    loaded = load_recipe(recipe, [*overrides, *roi_overrides(roi)])
    require_masks(masks, loaded)
    names = str(preview(images, masks, output, loaded, number).get_label()).split("\n")
    write_json(json_file, {"figure": str(output), "images": names})
    if str(json_file) != "-":
        echo(f"{', '.join(names)} in {output}")
