"""The read model of functions and their variables."""

from itertools import pairwise

import pytest

from annals.domain.commands import deployments as deployment_commands
from annals.domain.commands import functions as commands
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionAlreadyExists, VariableAlreadyExists
from annals.domain.function import Function
from tests.integration.projections.history import META, History, P


async def test_new_function_returns_its_row(history: History) -> None:
    recorded = await history.function(execute=["any"], events=["users.*.create"], timeout=60, scopes=["users.read"])

    (row,) = recorded.rows["functions"]
    assert row == await history.row("functions", "f")
    assert (row["execute"], row["events"], row["scopes"]) == (["any"], ["users.*.create"], ["users.read"])
    assert (row["timeout"], row["live"], row["deployment_id"], row["latest_deployment_id"]) == (60, True, "", "")
    assert row["sequence"] == recorded.position
    assert row["created_at"] == row["updated_at"] == recorded.recorded_at
    assert await history.count("functions", "") == 1


async def test_used_id_is_rejected(history: History) -> None:
    await history.function()

    with pytest.raises(FunctionAlreadyExists):
        await history.function()


async def test_every_change_moves_updated_at_by_a_millisecond_at_least(history: History) -> None:
    await history.function()
    seen = [(await history.the("functions", "f"))["updated_at"]]
    for number in range(20):
        (row,) = (await history.update(commands=str(number))).rows["functions"]
        seen.append(row["updated_at"])

    assert all((later - earlier).total_seconds() >= 0.001 for earlier, later in pairwise(seen))


async def test_live_follows_changes_of_build_inputs(history: History) -> None:
    await history.function()
    (changed,) = (await history.update(entrypoint="main.js")).rows["functions"]
    (other,) = (await history.update(entrypoint="main.js", timeout=20)).rows["functions"]

    assert (changed["live"], other["live"]) == (False, True)


async def test_build_makes_function_live_after_a_variable_change(history: History) -> None:
    await history.function()
    added = await history.add_variable("v1", "KEY")
    assert (await history.the("functions", "f"))["live"] is False

    recorded = await history.deploy("d1")

    (row,) = recorded.rows["functions"]
    assert row["live"] is True
    assert [v["key"] for v in recorded.rows["variables"]] == ["KEY"]
    assert added.rows["variables"][0]["function_sequence"] == row["sequence"]


async def test_activation_shows_the_deployments_own_creation_time(history: History) -> None:
    await history.function()
    await history.deploy("d1")
    await history.deploy("d2", activate=False)

    recorded = await history.log.run(
        commands.activate_deployment, Function.key(P, "f"), Deployment.key(P, "d2"), meta=META
    )

    (row,) = recorded.rows["functions"]
    deployment = await history.the("deployments", "d2")
    assert (row["deployment_id"], row["deployment_created_at"]) == ("d2", deployment["created_at"])


async def test_deleting_the_active_deployment_leaves_none(history: History) -> None:
    await history.function()
    await history.deploy("d1")
    await history.deploy("d2")

    await history.log.run(
        deployment_commands.delete_deployment, Function.key(P, "f"), Deployment.key(P, "d2"), meta=META
    )

    row = await history.the("functions", "f")
    assert (row["deployment_id"], row["deployment_created_at"]) == ("", None)
    assert (row["latest_deployment_id"], row["latest_deployment_status"]) == ("d1", "ready")
    assert await history.count("deployments") == 1


async def test_new_function_with_a_deleted_id_inherits_nothing(history: History) -> None:
    await history.function()
    await history.add_variable("v1", "KEY")
    await history.deploy("d1")
    await history.run("e1")
    first = await history.the("functions", "f")

    await history.delete_function()
    assert await history.row("functions", "f") is None
    assert await history.count("functions", "") == 0
    (again,) = (await history.function()).rows["functions"]

    assert again["sequence"] > first["sequence"]
    assert (again["live"], again["deployment_id"], again["latest_deployment_id"]) == (True, "", "")
    assert await history.row("deployments", "d1") is None
    for name in ("variables", "deployments", "executions"):
        assert await history.count(name) == 0
    await history.add_variable("v1", "KEY")


async def test_used_variable_id_is_rejected_without_a_trace(history: History) -> None:
    await history.function()
    await history.function("g")
    await history.add_variable("v1", "KEY")
    before = await history.the("functions", "g")

    with pytest.raises(VariableAlreadyExists):
        await history.add_variable("v1", "OTHER", "g")

    assert await history.the("functions", "g") == before
    assert await history.log.load(Function.key(P, "g")) is not None
    assert (await history.add_variable("v2", "OTHER", "g")).rows["variables"][0]["key"] == "OTHER"


async def test_variables_can_be_changed_and_removed(history: History) -> None:
    await history.function()
    (added,) = (await history.add_variable("v1", "KEY")).rows["variables"]
    changed = await history.log.run(
        Function.change_variable,
        Function.key(P, "f"),
        meta=META,
        variable_id="v1",
        key="OTHER",
        sealed=("sealed-2", "fp"),
        secret=True,
    )
    (row,) = changed.rows["variables"]
    assert (row["key"], row["sealed"], row["secret"]) == ("OTHER", "sealed-2", True)
    assert row["created_at"] == added["created_at"]
    assert row["updated_at"] > added["updated_at"]

    await history.log.run(Function.remove_variable, Function.key(P, "f"), meta=META, variable_id="v1")

    assert await history.count("variables") == 0
    assert await history.database.rows("SELECT * FROM variables") == []
