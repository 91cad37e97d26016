"""Build the page of the viewer into the package.

A wheel or an sdist needs the page: it is built with Node.js, or was built before. An sdist contains
the page, so that its installation runs no npm. An editable installation works without the page.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGE = Path("src", "pleura", "viewer", "static", "index.html")
SOURCES = Path("src", "pleura", "viewer", "web")
COMMANDS = (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"])


class ViewerPage(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if (root / "PKG-INFO").exists():  # an unpacked sdist
            return
        problem = _build(root / SOURCES)
        if problem is None:
            return
        if version == "editable":
            self.app.display_warning(f"{problem}: `pleura view` has no page")
        elif not (root / PAGE).exists():
            raise SystemExit(
                f"error: {problem}, so the page of `pleura view` cannot be built\n"
                "  hint: install Node.js 18 or newer, or install without the page: pip install -e ."
            )


def _build(sources: Path) -> str | None:
    """Build the page; return the reason if it was not built."""
    npm = shutil.which("npm")
    if npm is None:
        return "Node.js is not installed"
    for command in COMMANDS:
        done = subprocess.run(
            [npm, *command], cwd=sources, capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            return f"npm {command[0]} failed: {' '.join(lines[-1:])}"
    return None
