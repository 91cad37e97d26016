"""Build the page of the viewer into the package if Node.js is installed."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VIEWER = Path(__file__).parent / "src" / "pleura" / "viewer"


class ViewerPage(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        npm, web = shutil.which("npm"), VIEWER / "web"
        if npm is None:
            self.app.display_warning("Node.js is not installed: `pleura view` will not work")
            return
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            done = subprocess.run(
                [npm, *command], cwd=web, capture_output=True, text=True, check=False
            )
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                self.app.display_warning(
                    f"the page of `pleura view` was not built: {' '.join(last)}"
                )
                return
