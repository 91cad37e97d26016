"""Builds the viewer's page into the package, where Node.js is there to do it."""

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
            self.app.display_warning("no Node.js: `pleura view` will lack its page")
            return
        for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
            done = subprocess.run(
                [npm, *command], cwd=web, capture_output=True, text=True, check=False
            )
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                self.app.display_warning(f"`pleura view` will lack its page: {' '.join(last)}")
                return
