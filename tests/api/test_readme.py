"""The code blocks of the README, run as they are, do what the README says."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import node
from tests.api.sdks import installed
from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, annals, plain

ACTIVATED = str(ROOT / ".venv" / "bin")
"""The folder that the activated environment of the first snippet adds to PATH."""

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(section: str) -> list[tuple[str, str]]:
    """Return language and text of each code block of one section of the README."""
    text = (ROOT / "README.md").read_text()
    body = text.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [(match[1], match[2]) for match in BLOCK.finditer(body)]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with the clone's `.venv`, as the reader has it."""
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


@pytest.fixture
def forgetful(annals_instance: AnnalsInstance) -> Iterator[AnnalsInstance]:
    """Yield the instance, then delete everything that the README creates, so that its steps can be repeated."""
    yield annals_instance
    for function_id in ("hello", "greeter"):
        httpx.delete(f"{annals_instance.endpoint}/functions/{function_id}", headers=annals_instance.headers, timeout=60)
    data = ("--data", str(annals_instance.data))
    listed = json.loads(annals("users", "list", "--json", *data).stdout)["users"]
    for user_id in (user["id"] for user in listed if user["email"] == "you@example.org"):
        assert annals("users", "delete", "--id", user_id, *data).returncode == 0


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


def run(command: list[str], text: str, folder: Path, environment: dict[str, str]) -> str:
    ended = subprocess.run(
        command, input=text, cwd=folder, env=environment, text=True, capture_output=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_readme_creates_a_function_in_a_minute(forgetful: AnnalsInstance, here: Path) -> None:
    first, sdk, events = blocks("Your first function in a minute")
    environment = plain({"ANNALS_DATA": str(forgetful.data)})

    printed = run(["bash", "-eu"], first[1], here, environment)
    assert '"responseBody":"{\\"hello\\":\\"you\\"}"' in printed

    lines = run(["bash", "-eu"], 'eval "$(.venv/bin/annals env)"; env', here, environment).splitlines()
    reach = dict(line.split("=", 1) for line in lines if line.startswith("APPWRITE_"))
    for release in ("appwrite==15.3.0", "appwrite==27.0.0"):
        path = {"PYTHONPATH": str(installed(release))}
        printed = run([".venv/bin/python", "-"], sdk[1], here, {**environment, **reach, **path})
        assert "sdk" in printed
        assert "completed" in printed

    activated = {"PATH": os.pathsep.join([ACTIVATED, os.environ["PATH"]])}
    printed = run(["bash", "-eu"], events[1], here, {**environment, **activated})
    assert "deployment activated" in printed
    assert (first[0], sdk[0], events[0]) == ("sh", "python", "sh")


def test_broken_deployment_is_reverted_by_one_command(forgetful: AnnalsInstance, here: Path) -> None:
    first, _, _ = blocks("Your first function in a minute")
    (revert,) = blocks("Undo a mistake with one command")
    environment = plain({"ANNALS_DATA": str(forgetful.data)})

    printed = run(["bash", "-eu"], f"{first[1]}\necho @@@\n{revert[1]}", here, environment)

    failed, _, works = [json.loads(line) for line in printed.split("@@@\n")[1].splitlines() if line][-3:]
    assert (failed["status"], "broken" in failed["errors"]) == ("failed", True)
    assert (works["status"], works["responseBody"]) == ("completed", '{"hello":"you"}')


def test_stock_command_line_tool_pushes_a_function_that_runs_at_its_own_url(
    forgetful: AnnalsInstance, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = blocks("With the stock command-line tool")
    assert [language for language, _ in written] == ["sh"] * 3
    environment = plain({"ANNALS_DATA": str(forgetful.data), **at_home(tmp_path_factory.mktemp("home"))})

    printed = run(["bash", "-eu"], "".join(text for _, text in written), here, environment)

    assert "Successfully signed in as you@example.org" in printed
    assert "Successfully pushed 1 functions" in printed
    assert printed.endswith("Hello, you!")
