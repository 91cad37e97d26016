"""Sphinx configuration of the documentation; `make docs` builds it."""

import os
import shutil
from pathlib import Path
from typing import Any, get_origin

import pleura

DOCS = Path(__file__).parent

project = "pleura"
author = "the pleura developers"
copyright = "2026, the pleura developers"  # noqa: A001
version = release = pleura.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_templates", "README.md"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
# `make docs NOTEBOOKS=cache` executes the notebooks that changed; the tests execute them, too.
nb_execution_mode = os.environ.get("NOTEBOOKS", "off")
nb_execution_cache_path = str(DOCS / "_build" / "notebooks")
nb_execution_excludepatterns = ["*_student.ipynb"]
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autosummary_imported_members = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
add_module_names = False
default_role = "autolink"

nitpicky = True
TYPE_ALIASES = [name for name in pleura.__all__ if get_origin(getattr(pleura, name)) is not None]
"""Public types of arguments; the page of the API describes them in a table."""

nitpick_ignore_regex = [
    ("py:.*", "|".join(TYPE_ALIASES)),
    # External packages: their inventories would have to be downloaded.
    (
        "py:.*",
        r"(numpy|np|torch|nn|pathlib|os|matplotlib|collections|Path|NDArray|Figure|SimpleITKImage|Nifti1Image|Volume)\b.*",
    ),
    # Types that appear in signatures but are not public: structural types and parts of recipes.
    ("py:.*", r"pleura\.\w+\..*"),
    ("py:.*", r"(\w+Recipe|Augmentation|Preprocessing|Simulation|Source)"),
]

copybutton_exclude = ".linenos, .gp, .go"
html_theme = "pydata_sphinx_theme"
html_title = f"pleura {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["accessible-names.js"]
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {"index": [], "changelog": [], "cite": [], "benchmarks": [], "coming-from": []}
html_theme_options = {
    "logo": {"text": "pleura"},
    "navbar_end": ["theme-switcher"],
    "navigation_depth": 3,
    "show_prev_next": False,
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": [],
}

PAGES_OF_FILES = {
    "../../tests/data/sample/README.md": "../reference/sample.md",
    "../../notebooks/": "../tutorials/notebooks/",
}
"""Links to files outside of this folder, which work in the repository, and their pages here."""


def link_pages(app: Any, name: str, content: list[str]) -> None:
    """Replace links to files by links to the pages that include them."""
    for file, page in PAGES_OF_FILES.items():
        content[0] = content[0].replace(file, page)


def copy_notebooks(app: Any) -> None:
    """Copy the notebooks into the documentation, where Sphinx looks for pages."""
    target = DOCS / "tutorials" / "notebooks"
    target.mkdir(exist_ok=True)
    for notebook in sorted((DOCS.parent / "notebooks").glob("*.ipynb")):
        copied = target / notebook.name
        if not copied.exists() or copied.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copied)


def setup(app: Any) -> None:
    """Register the functions that copy notebooks and replace links."""
    app.connect("builder-inited", copy_notebooks, priority=0)
    app.connect("source-read", link_pages)
