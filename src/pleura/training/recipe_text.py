"""Parse the YAML of recipes, with limits and without repeated keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pleura.errors import RecipeError

MOST_BYTES, MOST_NODES, MOST_DEPTH = 1 << 20, 20_000, 20
"""Limits of a recipe: bytes, values with all aliases expanded, and levels of nesting."""


def parse_recipe_text(text: str, where: str) -> Any:
    """Parse the YAML of a recipe, or of a value in one.

    Raises
    ------
    RecipeError
        The text is not YAML, exceeds a limit, or repeats a key.
    """
    try:
        _check_limits(text, where)
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: impossible dates
        raise RecipeError(
            f"the recipe cannot be read ({' '.join(str(error).split())})",
            where=where,
            hint="correct the YAML syntax",
        ) from error


def read_recipe_text(path: Path, where: str) -> Any:
    """Parse a recipe file.

    Raises
    ------
    RecipeError
        As `parse_recipe_text`, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise RecipeError(
            "no such recipe file",
            where=where,
            hint="check the spelling of the path; `pleura recipe` lists the recipes of the package",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"the recipe cannot be read ({error})", where=where, hint="pass a readable YAML file"
        ) from error
    return parse_recipe_text(text, where)


def _check_limits(text: str, where: str) -> None:
    """Count values, with aliases expanded, and nesting, before any object is created."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise _too_large(f"more than {MOST_BYTES} bytes", where)
    sizes: dict[str | None, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and number of values so far
    for event in yaml.parse(text, yaml.SafeLoader):
        anchor, size = getattr(event, "anchor", None), 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, 1))
            if len(open_nodes) > MOST_DEPTH:
                raise _too_large(f"more than {MOST_DEPTH} levels of nesting", where)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):  # an undefined alias is recursive
            size = sizes.get(anchor, MOST_NODES + 1)
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        sizes[anchor] = size
        if open_nodes:
            size += open_nodes[-1][1]
            open_nodes[-1] = open_nodes[-1][0], size
        if size > MOST_NODES:
            raise _too_large(f"more than {MOST_NODES} values (aliases counted in full)", where)


def _too_large(what: str, where: str) -> RecipeError:
    return RecipeError(
        f"the recipe has {what}", where=where, hint="write a smaller recipe without aliases"
    )


class _Loader(yaml.SafeLoader):
    """A loader that rejects repeated keys, of which YAML would use the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = next((key for key, n in counts.items() if n > 1 and key != "<<"), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{twice}' occurs twice", node.start_mark
            )
        return super().construct_mapping(node, deep)
