"""The commands of docs/tutorial.md, docs/guide.md and docs/troubleshooting.md do what the pages say."""

import re
from pathlib import Path

from tests.api.pasting import objects, paste, terminal
from tests.architecture.pages import blocks, commands
from tests.instance import AnnalsInstance


def test_tutorial_deploys_schedules_breaks_and_reverts_a_function(forgetful: AnnalsInstance, here: Path) -> None:
    printed = paste(commands("docs/tutorial.md"), here, terminal(forgetful))

    _, deploy, call, variable, policy, schedule, watch, mistake, dead, revert, redrive, stop = printed
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


def test_commands_of_the_guide_do_what_it_says(forgetful: AnnalsInstance, here: Path) -> None:
    first, _, _ = blocks("README.md", "Your first function in a minute")

    printed = paste([first.text, *commands("docs/guide.md")], here, terminal(forgetful))

    _, _, configured, canary, activated, rolled_back, later, *further = printed
    policy, retries, dead, repeated, variable, schedule, scheduled, triggered, domain, listed, usage = further
    assert (objects(configured)[0]["execute"], objects(configured)[0]["timeout"]) == (["any"], 30)
    direct, shared = objects(canary)
    assert direct["responseBody"] == '{"from":"the canary"}'
    assert shared["traffic"][0]["percent"] == 10
    now_active, unshared = objects(activated)
    assert (now_active["deploymentId"], unshared["traffic"]) == (direct["deploymentId"], [])
    back, called = objects(rolled_back)
    assert back["deploymentId"] != now_active["deploymentId"]
    assert called["responseBody"] == '{"hello":"again"}'
    assert "greeting later" in later
    assert '"concurrency":8' in policy
    assert objects(retries)[0]["retries"]["attempts"] == 5
    assert '"total":0' in dead
    once, again = objects(repeated)
    assert once["$id"] == again["$id"]
    assert objects(variable)[0]["value"] == "hi"
    assert [function["schedule"] for function in objects(schedule)] == ["0 6 * * MON-FRI", ""]
    waiting, canceled = objects(scheduled)
    assert (waiting["status"], canceled["status"]) == ("scheduled", "failed")
    assert objects(triggered)[0]["events"] == ["users.*.create"]
    assert domain.strip().endswith('{"hello":"domain"}')
    assert all(execution["status"] == "completed" for execution in objects(listed)[0]["executions"])
    assert objects(usage)[0]["range"] == "24h"


def test_commands_of_troubleshooting_show_checks_processes_and_events(
    annals_instance: AnnalsInstance, here: Path
) -> None:
    (printed,) = paste(commands("docs/troubleshooting.md"), here, terminal(annals_instance))

    assert all(word in printed for word in ("postgres durability", "supervisor"))
    assert re.search(r"^ *\d+  20\d\d-\d\d-\d\d ", printed, re.MULTILINE), "no event is listed"
