"""The commands of docs/tutorial.md and docs/guide.md do what the pages say, on a running instance."""

import json
import re
from pathlib import Path

from tests.api.test_readme import ACTIVATED, BLOCK, blocks, forgetful, here, run
from tests.architecture.source import ROOT
from tests.instance import AnnalsInstance, plain

__all__ = ["forgetful", "here"]


def shell_blocks(page: str) -> list[str]:
    """Return the text of each shell block of a page of the docs, in order."""
    return [match[2] for match in BLOCK.finditer((ROOT / "docs" / page).read_text()) if match[1] == "sh"]


def pasted(parts: list[str], folder: Path, instance: AnnalsInstance) -> list[str]:
    """Paste all blocks into one shell, as the reader does; return what each of them printed."""
    environment = plain({"ANNALS_DATA": str(instance.data)})
    environment["PATH"] = f"{ACTIVATED}:{environment['PATH']}"
    return run(["bash", "-eu"], "\necho @@@\n".join(parts), folder, environment).split("@@@\n")


def objects(printed: str) -> list[dict[str, object]]:
    """Return the JSON objects that a block printed, one a line."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def test_tutorial_deploys_schedules_breaks_and_reverts_a_function(forgetful: AnnalsInstance, here: Path) -> None:
    parts = shell_blocks("tutorial.md")

    _, deploy, call, variable, policy, schedule, watch, mistake, dead, revert, redrive, stop = pasted(
        parts, here, forgetful
    )

    assert objects(deploy)[0]["$id"] == "hello"
    assert objects(call)[0]["responseBody"] == '{"message":"Hello, tutorial!"}'
    assert objects(variable)[1]["responseBody"] == '{"message":"Good morning, tutorial!"}'
    assert '"attempts":2' in policy
    assert objects(schedule)[0]["schedule"] == "* * * * *"
    assert all(
        word in watch for word in ("supervisor", "function.policy_changed", '"ready":true', "annals_follower_lag")
    )
    assert objects(mistake)[-2]["status"] == "failed"
    assert "error   2" in dead
    differences, dry_run, reverted = objects(revert)
    assert differences["from"] != differences["to"]
    assert dry_run["total"] == 2
    assert (reverted["name"], reverted["timeout"], reverted["schedule"]) == ("Hello", 15, "* * * * *")
    assert redrive.startswith("redriven")
    assert objects(redrive)[-1]["responseBody"] == '{"message":"Good morning, undo!"}'
    assert objects(stop)[0]["schedule"] == ""


def test_commands_of_the_guide_configure_call_and_list_a_function(forgetful: AnnalsInstance, here: Path) -> None:
    first, _, _ = blocks("Your first function in a minute")

    parts = [first[1], *shell_blocks("guide.md")]
    _, _, configured, activated, later, policy, dead, variable, domain, listed, usage = pasted(parts, here, forgetful)

    assert objects(configured)[0]["execute"] == ["any"]
    assert objects(activated)[0]["deploymentId"]
    assert "greeting later" in later
    assert '"concurrency":8' in policy
    assert '"total":0' in dead
    assert objects(variable)[0]["value"] == "hi"
    assert domain.strip().endswith('{"hello":"domain"}')
    assert all(execution["status"] == "completed" for execution in objects(listed)[0]["executions"])  # type: ignore[attr-defined]
    assert objects(usage)[0]["range"] == "24h"


def test_commands_of_troubleshooting_show_checks_processes_and_events(
    annals_instance: AnnalsInstance, here: Path
) -> None:
    environment = plain({"ANNALS_DATA": str(annals_instance.data)})
    environment["PATH"] = f"{ACTIVATED}:{environment['PATH']}"
    (commands,) = shell_blocks("troubleshooting.md")

    printed = run(["bash", "-eu"], commands, here, environment)

    assert all(word in printed for word in ("postgres durability", "supervisor"))
    assert re.search(r"^ *\d+  20\d\d-\d\d-\d\d ", printed, re.MULTILINE), "no event is listed"
