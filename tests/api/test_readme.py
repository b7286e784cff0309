"""The code blocks of the README, run as they are, do what the README says."""

import os
from pathlib import Path

import pytest

from tests import node
from tests.api.pasting import ACTIVATED, objects, paste, run, terminal
from tests.api.sdks import installed
from tests.architecture.pages import blocks, commands
from tests.instance import AnnalsInstance, plain


def at_home(home: Path) -> dict[str, str]:
    """Return an environment in which npm and the CLI use this home, but npm's shared download cache."""
    tools = home / "npm"
    return {
        "HOME": str(home),
        "NO_COLOR": "1",
        "CI": "1",
        "npm_config_prefix": str(tools),
        "npm_config_cache": str(Path.home() / ".npm"),
        "PATH": os.pathsep.join([ACTIVATED, str(tools / "bin"), str(node.bin_folder()), os.environ["PATH"]]),
    }


def test_readme_creates_a_function_in_a_minute(forgetful: AnnalsInstance, here: Path) -> None:
    first, sdk, events = blocks("README.md", "Your first function in a minute")
    environment = plain({"ANNALS_DATA": str(forgetful.data)})

    printed = run(["bash", "-eu"], first.text, here, environment)
    assert '"responseBody":"{\\"hello\\":\\"you\\"}"' in printed

    lines = run(["bash", "-eu"], 'eval "$(.venv/bin/annals env)"; env', here, environment).splitlines()
    reach = dict(line.split("=", 1) for line in lines if line.startswith("APPWRITE_"))
    for release in ("appwrite==15.3.0", "appwrite==27.0.0"):
        path = {"PYTHONPATH": str(installed(release))}
        printed = run([".venv/bin/python", "-"], sdk.text, here, {**environment, **reach, **path})
        assert "sdk" in printed
        assert "completed" in printed

    printed = run(["bash", "-eu"], events.text, here, terminal(forgetful))
    assert "deployment activated" in printed
    assert (first.language, sdk.language, events.language) == ("sh", "python", "sh")


def test_broken_deployment_is_reverted_by_one_command(forgetful: AnnalsInstance, here: Path) -> None:
    first, _, _ = blocks("README.md", "Your first function in a minute")
    (revert,) = blocks("README.md", "Undo a mistake with one command")

    _, printed = paste([first.text, revert.text], here, plain({"ANNALS_DATA": str(forgetful.data)}))

    failed, _, works = objects(printed)[-3:]
    assert (failed["status"], "broken" in failed["errors"]) == ("failed", True)
    assert (works["status"], works["responseBody"]) == ("completed", '{"hello":"you"}')


def test_stock_command_line_tool_pushes_a_function_that_runs_at_its_own_url(
    forgetful: AnnalsInstance, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = commands("README.md", "With the stock command-line tool")
    assert len(written) == 3
    environment = plain({"ANNALS_DATA": str(forgetful.data), **at_home(tmp_path_factory.mktemp("home"))})

    printed = run(["bash", "-eu"], "".join(written), here, environment)

    assert "Successfully signed in as you@example.org" in printed
    assert "Successfully pushed 1 functions" in printed
    assert printed.endswith("Hello, you!")
