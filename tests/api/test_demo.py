"""`annals demo` on a running instance: every step is printed, and the demo can be repeated."""

import json
import subprocess
import sys

import pytest

from tests.instance import AnnalsInstance, plain


@pytest.mark.timeout(600)
def test_demo_runs_every_step_and_can_be_repeated(annals_instance: AnnalsInstance) -> None:
    command = [sys.executable, "-m", "annals", "demo", "--data", str(annals_instance.data)]
    shown = subprocess.run(command, env=plain({}), text=True, capture_output=True, timeout=280, check=False)
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
    story, trail = shown.stdout.split("what the log says of it:")
    steps = [
        "create function durations (node-22)",
        "The deployment is ready.",
        'call durations/?ms=5400000: {"greeting":"hello","words":"2 hours"',
        "call durations asynchronously: accepted as ",
        "create function sizes (python-",
        'call sizes/?bytes=123456789: {"greeting":"hello","words":"123.5 MB"',
        "set the secret variable GREETING of durations",
        'call durations/?ms=5400000: {"greeting":"bonjour"',
        "once more and follow the build",
        "roll durations back to ",
        "the first call ran with 0 variables; changed since: variables",
    ]
    positions = [story.find(step) for step in steps]
    assert -1 not in positions, story
    assert positions == sorted(positions)
    assert "bonjour" not in trail
    assert "reason=rollback" in trail

    again = subprocess.run(
        [*command, "--json"], env=plain({}), text=True, capture_output=True, timeout=280, check=False
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["events"] > 0
    assert "create function durations-2 " in again.stderr
