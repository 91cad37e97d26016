"""`pleura recipe`."""

from __future__ import annotations

import click


@click.command("recipe")
@click.argument("name", required=False)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe value."
)
def command(name: str | None, overrides: tuple[str, ...]) -> None:
    """List the recipes of the package, or print recipe NAME with all values."""
    from pleura.training.recipe_loading import known_recipes, load_recipe

    if name is not None:
        click.echo(load_recipe(name, overrides).to_yaml(), nl=False)
        return
    for known in known_recipes():
        click.echo(f"{known:<16}{load_recipe(known).description.strip()}")
