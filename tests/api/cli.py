"""The official command-line tool, unmodified, with its own home and project folder."""

import json
import subprocess
from pathlib import Path
from typing import Any

from annals.store.ids import generate_id
from tests import node
from tests.api.sdks import installed
from tests.instance import AnnalsInstance, annals

CLI = "appwrite-cli@12.0.1"
PASSWORD = "correct horse battery"


class Cli:
    """The tool of one user: `home` keeps the session, `folder` the project file."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder / "work"
        self.home.mkdir(parents=True)
        self.folder.mkdir()
        self._script = installed(CLI) / "node_modules" / "appwrite-cli" / "index.js"

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Run a command, check whether it fails, and return its output."""
        done = subprocess.run(
            [str(node.bin_folder() / "node"), str(self._script), *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            env={**node.environment(), "HOME": str(self.home), "NO_COLOR": "1", "CI": "1"},
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, output
        return output

    def json(self, *arguments: str) -> Any:
        """Run a command with `--json`, and return its answer."""
        output = self.run(*arguments, "--json")
        return json.loads(output[output.index("{") :])

    def project_file(self, project: str, *functions: dict[str, Any]) -> None:
        """Write the project file as `init` does."""
        content = {"projectId": project, "projectName": project, "functions": list(functions)}
        (self.folder / "appwrite.config.json").write_text(json.dumps(content))

    def code(self, path: str, files: dict[str, str]) -> None:
        target = self.folder / path
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name).write_text(text)


def admin_of(instance: AnnalsInstance) -> str:
    """Create an admin of the instance with the password PASSWORD, and return the email address."""
    email = f"{generate_id()}@console.test"
    made = annals(
        *("users", "create-admin", "--email", email, "--password", PASSWORD, "--name", "Ada"),
        *("--data", str(instance.data)),
    )
    assert made.returncode == 0, made.stderr
    return email
