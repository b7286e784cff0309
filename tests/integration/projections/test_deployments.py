"""The read model of deployments and their builds."""

import pytest

from annals.domain.commands import deployments as commands
from annals.domain.deployment import Deployment
from annals.domain.errors import FunctionNotFound
from annals.domain.function import Function
from tests.integration.projections.history import META, History, P


async def test_upload_returns_a_waiting_row_with_sizes(history: History) -> None:
    await history.function()

    recorded = await history.upload("d1", size=1234)

    (row,) = recorded.rows["deployments"]
    assert row == await history.row("deployments", "d1")
    assert (row["status"], row["source_size"], row["build_size"], row["total_size"]) == ("waiting", 1234, 0, 1234)
    assert (row["type"], row["entrypoint"], row["commands"]) == ("manual", "index.js", "npm install")
    assert row["queued_at"] == recorded.recorded_at
    function = await history.the("functions", "f")
    assert function["latest_deployment_id"] == "d1"
    assert function["latest_deployment_created_at"] == row["created_at"]
    assert function["latest_deployment_status"] == "waiting"


async def test_build_status_shows_on_its_function(history: History) -> None:
    await history.function()
    await history.upload("d1")

    async def states() -> tuple[str, str]:
        function, row = await history.the("functions", "f"), await history.the("deployments", "d1")
        return row["status"], function["latest_deployment_status"]

    await history.claim_build("d1")
    assert await states() == ("processing", "processing")
    await history.log.run(Deployment.start_build, Deployment.key(P, "d1"), meta=META, epoch=1)
    assert await states() == ("building", "building")
    await history.finish_build("d1")
    assert await states() == ("ready", "ready")

    row = await history.the("deployments", "d1")
    assert (row["build_size"], row["total_size"], row["build_duration"], row["epoch"]) == (300, 350, 2, 1)
    assert row["build_started_at"] <= row["build_ended_at"]
    assert row["artefact_key"] == "artefacts/d1"


async def test_status_of_an_older_deployment_does_not_show_on_the_function(history: History) -> None:
    await history.function()
    await history.upload("d1")
    await history.upload("d2")
    before = await history.the("functions", "f")

    await history.claim_build("d1")
    await history.fail_build("d1")

    assert await history.the("functions", "f") == before
    row = await history.the("deployments", "d1")
    assert (row["status"], row["reason"], row["build_duration"]) == ("failed", "command_failed", 2)


async def test_newest_deployment_to_activate_clears_the_flag_of_others(history: History) -> None:
    await history.function()
    await history.function("g")
    await history.upload("d1")
    await history.upload("elsewhere", "g")
    await history.upload("d2", activate=False)
    assert (await history.the("deployments", "d1"))["activate"] is True
    before = await history.the("deployments", "d1")

    await history.upload("d3")

    flags = {d: (await history.the("deployments", d))["activate"] for d in ("d1", "d2", "d3", "elsewhere")}
    assert flags == {"d1": False, "d2": False, "d3": True, "elsewhere": True}
    assert (await history.the("deployments", "d1"))["updated_at"] > before["updated_at"]


async def test_lost_build_waits_again_and_ignores_a_late_result(history: History) -> None:
    await history.function()
    await history.upload("d1")
    await history.claim_build("d1", "lost")
    await history.log.run(commands.recover_build, Deployment.key(P, "d1"), meta=META, epoch=1, attempts=3)
    row = await history.the("deployments", "d1")
    assert (row["status"], row["worker"], row["build_started_at"]) == ("waiting", "", None)
    await history.claim_build("d1", "w2")

    late = await history.finish_build("d1", epoch=1)

    assert late.events == ()
    row = await history.the("deployments", "d1")
    assert (row["status"], row["worker"], row["epoch"]) == ("processing", "w2", 2)


async def test_canceled_build_keeps_its_log_with_a_note(history: History) -> None:
    await history.function()
    await history.upload("d1")
    await history.claim_build("d1")
    insert = "INSERT INTO build_logs VALUES ('deployment:p:d1', 1, 1, 'installing')"
    await history.database.execute(insert)

    await history.log.run(commands.cancel_build, Deployment.key(P, "d1"), meta=META, function_id="f", seconds=7)

    row = await history.the("deployments", "d1")
    assert (row["status"], row["build_duration"]) == ("canceled", 7)
    pieces = await history.database.rows("SELECT chunk FROM build_logs ORDER BY seq")
    assert "".join(piece["chunk"] for piece in pieces) == "installing\nBuild has been canceled.\n"


async def test_pieces_of_a_build_log_are_deleted_at_its_end(history: History) -> None:
    await history.function()
    await history.upload("d1")
    await history.claim_build("d1")
    await history.database.execute("INSERT INTO build_logs VALUES ('deployment:p:d1', 1, 1, 'installing')")

    await history.finish_build("d1")

    assert await history.database.rows("SELECT * FROM build_logs") == []


async def test_upload_to_a_deleted_function_is_rejected(history: History) -> None:
    await history.function()
    await history.delete_function()

    with pytest.raises(FunctionNotFound):
        await history.upload("d1")

    assert await history.row("deployments", "d1") is None
    assert await history.log.reader.of_stream(Deployment.stream(P, "d1")) == []


async def test_deployments_id_can_be_used_again_after_its_deletion(history: History) -> None:
    await history.function()
    await history.deploy("d1")
    keys = (Function.key(P, "f"), Deployment.key(P, "d1"))
    await history.log.run(commands.delete_deployment, *keys, meta=META)

    (row,) = (await history.upload("d1", size=9)).rows["deployments"]

    assert (row["status"], row["source_size"], row["build_size"], row["epoch"]) == ("waiting", 9, 0, 0)
    assert await history.count("deployments") == 1
