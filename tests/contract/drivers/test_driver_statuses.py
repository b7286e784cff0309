"""Statuses of executions: the code's own, or the server's if the code cannot be called."""

import pytest

from tests.contract.drivers.hosts import NODE, PYTHON, Host

PY_STATUS = 'def main(context): return context.res.text("own", int(context.req.path[1:]))'
JS_STATUS = "module.exports = ({ req, res }) => res.text('own', Number(req.path.slice(1)));"


@pytest.mark.parametrize(("runtime", "source"), [(PYTHON, PY_STATUS), (NODE, JS_STATUS)], ids=["python", "node"])
async def test_every_status_of_the_code_comes_back(host: Host, runtime: str, source: str) -> None:
    run = await host.function(source, runtime)

    for status in (100, 101, 103, 199, 200, 204, 304, 404, 500, 501, 503, 504, 599, 600, 999):
        outcome = await host.execute(run, path=f"/{status}", execution=f"e{status}")
        assert (outcome.status_code, outcome.reason) == (status, "error" if status >= 500 else "")


@pytest.mark.runtime(38)
@pytest.mark.parametrize(("runtime", "source"), [(PYTHON, "x = 1"), (NODE, "module.exports = 1;")])
async def test_entrypoint_without_an_export_answers_503(host: Host, runtime: str, source: str) -> None:
    outcome = await host.execute(await host.function(source, runtime))

    assert (outcome.status_code, outcome.reason, outcome.body) == (503, "error", b"")
    assert outcome.errors
