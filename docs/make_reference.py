"""Write the reference of recipes, commands and the Python API; `make reference` runs this."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import pleura
from pleura.cli import cli
from pleura.dataset.data_recipe import LabelRecipe
from pleura.dataset.lungs_recipe import LungsRecipe
from pleura.dataset.sources import Source
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import RECIPES, known_recipes, load_recipe

REFERENCE = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/make_reference.py from the code: change it there. -->\n"

RECIPES_HEAD = """\
# Recipes

A recipe defines a training. `pleura recipe` lists the shipped recipes, `pleura recipe NAME`
prints one with all values, and `--recipe` (`-r`) accepts a name or the path of a YAML file.

Missing keys have the defaults below. With the key `base`, a file starts from a shipped recipe:

```yaml
base: exercise
name: longer
training:
  epochs: 80
```

`--set KEY=VALUE` changes one value on the command line and may be repeated. Keys are written with
dots, values as in YAML: `--set training.epochs=80`, `--set preprocessing.size=[256,256]`,
`--set augmentation=null`. An unknown key is an error that names the nearest known key.

Paths in a recipe (`split.file`, `split.patient_file`) are relative to the recipe or else to
the current folder. The `recipe.yaml` of a run is a recipe, too.

A recipe has at most 1 MiB of text, 20,000 values (aliases counted in full), 20 levels of nesting,
and no key twice. Sides of a grid are at most 4096; a network has at most 8 levels of at most 2048
channels.
"""

CLI_HEAD = """\
# Commands

Every command takes `-h` or `--help`. `pleura --version` prints the version.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | an error, printed with what went wrong, where, and what to do |
|   | `check`: the data cannot be trained on; `predict`: an image was left without mask |
| 2 | the command line itself is wrong |
| 130 | stopped by Ctrl-C; `train`, `search`, `cross-validate` and `learning-curve` have saved |

Results go to standard output, progress and errors to standard error.

## Shell completion

Completion of commands and options needs one line in the start file of the shell:

| shell | file | line |
| --- | --- | --- |
| bash 4.4 or newer | `~/.bashrc` | `eval "$(_PLEURA_COMPLETE=bash_source pleura)"` |
| zsh | `~/.zshrc` | `eval "$(_PLEURA_COMPLETE=zsh_source pleura)"` |
| fish | `~/.config/fish/config.fish` | `_PLEURA_COMPLETE=fish_source pleura \\| source` |
"""

API_HEAD = """\
# Python API

All names are attributes of the package `pleura`. `import pleura` is fast: a module is imported at
the first use of its names, and PyTorch only by functions that train networks or read runs.
[Work from Python](../how-to/python.md) shows the most used functions.
"""

API_SECTIONS = {
    "Segment": ("segmentation", "cohort", "masks"),
    "Read scans": ("formats", "scan", "intensity", "files"),
    "Measure": ("measurement",),
    "Evaluate": ("evaluation",),
    "Check and pair training data": ("dataset",),
    "Train": ("training", "engine"),
    "Correct and fine-tune": ("corrections",),
    "Reports and viewer": ("report", "viewer"),
    "Errors and warnings": ("errors",),
}
"""Sections of the API reference, with the packages whose public names each lists."""


def recipes_page() -> str:
    """Return the reference of recipes: every key, then the recipes that ship side by side."""
    parts = [GENERATED, RECIPES_HEAD]
    parts.append("## Top level\n\n" + _table(Recipe, "", lambda field: _section(field) is None))
    for name, field in Recipe.model_fields.items():
        section = _section(field)
        if section is not None:
            about = " ".join(inspect.cleandoc(section.__doc__ or "").split())
            more = f" {field.description}" if field.description else ""
            parts.append(f"## {name}\n\n{about}{_one_line(more)}\n\n{_table(section, f'{name}.')}")
            for key, inner in section.model_fields.items():
                if (items := _section(inner)) is not None:
                    about = " ".join(inspect.cleandoc(items.__doc__ or "").split())
                    value = ".VALUE" if get_origin(inner.annotation) is dict else ""
                    table = _table(items, f"{name}.{key}{value}.")
                    parts.append(f"### {name}.{key}\n\n{about}\n\n{table}")
    parts.append(_shipped())
    return "\n".join(parts)


def cli_page() -> str:
    """Return the reference of commands."""
    parts = [GENERATED, CLI_HEAD]
    context = click.Context(cli, info_name="pleura")
    parts += [_command(n, cli.get_command(context, n)) for n in cli.list_commands(context)]
    return "\n".join(parts)


def api_page() -> str:
    """Return the reference of the Python API: the public names by section."""
    public = {name: getattr(pleura, name) for name in pleura.__all__ if name[0] != "_"}
    aliases = [name for name, value in public.items() if get_origin(value) is not None]
    modules = {name: value.__module__ for name, value in public.items() if name not in aliases}
    parts = [GENERATED, API_HEAD]
    for title, packages in API_SECTIONS.items():
        names = [name for name, module in modules.items() if module.split(".")[1] in packages]
        listed = "\n".join(f"   {name}" for name in sorted(names, key=str.lower))
        parts.append(
            f"## {title}\n\n```{{eval-rst}}\n.. currentmodule:: pleura\n\n"
            f".. autosummary::\n   :toctree: api\n\n{listed}\n```\n"
        )
    parts.append("## Types of arguments\n\n| type | meaning |\n| --- | --- |")
    parts += [f"| `{name}` | {_one_line(_alias_meaning(name))} |" for name in aliases]
    return "\n".join(parts)


def _alias_meaning(name: str) -> str:
    """Return the docstring below a type alias, and its values if it lists them."""
    module = importlib.import_module(pleura._MODULE_BY_NAME[name])
    statements = ast.parse(inspect.getsource(module)).body
    index = next(
        i
        for i, statement in enumerate(statements)
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and ast.unparse(statement).startswith((f"{name} =", f"{name}:"))
    )
    meaning = inspect.cleandoc(ast.literal_eval(statements[index + 1].value))
    values = get_args(getattr(pleura, name)) if get_origin(getattr(pleura, name)) is Literal else ()
    listed = ", ".join(f'`"{value}"`' for value in values)
    return f"{listed}: {meaning}" if listed else meaning


def _section(field: FieldInfo) -> type[BaseModel] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        # On Python 3.10, isinstance(tuple[int, int], type) is true.
        plain = isinstance(candidate, type) and get_origin(candidate) is None
        if plain and issubclass(candidate, BaseModel):
            return candidate
    return None


def _table(model: type[BaseModel], prefix: str, keep: Any = lambda _: True) -> str:
    lines = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if keep(field) and not isinstance(field.default, BaseModel):
            default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
            cells = f"`{prefix}{name}`", _takes(field), default, _one_line(field.description or "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _takes(field: FieldInfo) -> str:
    return ", ".join([_type(field.annotation), *_limits(field.metadata)])


def _limits(metadata: Sequence[Any]) -> list[str]:
    return [
        f"{word} {_number(value)}"
        for item in metadata
        for attribute, word in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))
        if (value := getattr(item, attribute, None)) is not None
    ]


def _number(value: float) -> str:
    power = math.log2(value) if value > 1e9 else 0.5
    return f"2^{power:g}" if power.is_integer() else f"{value:g}"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = _limits([m for a in arguments[1:] for m in getattr(a, "metadata", [a])])
        return _type(arguments[0]) + (f" {', '.join(limits)}" if limits else "")
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join("`null`" if a is NoneType else _type(a) for a in arguments)
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        noun = _type(arguments[0])
        for word in ("text", "number", "section"):
            noun = noun.replace(word, f"{word}s")
        return f"list of {count}{noun}"
    if origin is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    names = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
    names |= {LabelRecipe: "text or section", Source: "section", LungsRecipe: "section"}
    return names.get(annotation, "path")


def _yaml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    if isinstance(value, str):
        return value or '""'
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|").rstrip()


def _shipped() -> str:
    """Return the recipes that ship, side by side: what their files say."""
    files = {name: (RECIPES / f"{name}.yaml").read_text("utf-8") for name in known_recipes()}
    written = {name: _flat(yaml.safe_load(text), "") for name, text in files.items()}
    lines = ["## Shipped recipes\n"]
    lines += [f"* `{name}`: {values['description'].strip()}" for name, values in written.items()]
    lines += ["", "An empty cell is the default.\n"]
    lines += [f"| key | {' | '.join(written)} |", f"| --- {'| --- ' * len(written)}|"]
    for key in _flat(load_recipe("exercise").model_dump(), ""):
        cells = [f"`{_yaml(v[key])}`" if key in v else "" for v in written.values()]
        if any(cells) and key not in ("name", "description"):
            lines.append(f"| `{key}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _command(name: str, command: click.Command | None) -> str:
    if command is None:
        return ""
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option)]
    words = [a.metavar or a.name.upper() for a in arguments if a.name]
    words = [w if a.required else f"[{w}]" for w, a in zip(words, arguments, strict=True)]
    lines = [f"## pleura {name}\n", f"    pleura {' '.join([name, '[OPTIONS]', *words])}\n"]
    lines.append(inspect.cleandoc(command.help or "") + "\n")
    lines += ["| option | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for option in options:
        default = f"`{option.default}`" if option.show_default else ""
        cells = [", ".join(f"`{o}`" for o in option.opts), _values(option), default]
        meaning = _one_line(option.help or "")
        lines.append("| " + " | ".join([*cells, meaning + (" Required." * option.required)]) + " |")
    if command.epilog:
        epilog = inspect.cleandoc(command.epilog.replace("\b\n", ""))
        examples, _, rest = epilog.partition("\n\n")
        indented = [f"    {line.strip()}" for line in examples.splitlines()[1:]]
        lines += ["", "Examples:\n", *indented, *([f"\n{rest.strip()}"] if rest else [])]
    return "\n".join(lines) + "\n"


def _values(option: click.Option) -> str:
    if option.is_flag:
        return ""
    kind = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        if kind.min_open:
            return f"above {kind.min}"
        return f"{kind.min} or more" if kind.max is None else f"{kind.min} to {kind.max}"
    if option.metavar:
        return option.metavar
    return {"integer": "whole number"}.get(kind.name, kind.name)


def main() -> None:
    pages = {"recipes": recipes_page(), "cli": cli_page(), "api": api_page()}
    for name, page in pages.items():
        (REFERENCE / f"{name}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
