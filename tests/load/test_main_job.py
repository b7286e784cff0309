"""The main job under load: many functions and executions through two API processes, with every execution counted."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import pytest

from tests.client import JSON, Client
from tests.instance import AnnalsInstance, annals, another_api, eventually

FUNCTIONS, EXECUTIONS = 20, 50
CODE = {
    "node-22": "module.exports = async ({ req, res }) => res.text(req.bodyText)",
    "python-3.11": "def main(context):\n    return context.res.text(context.req.body_text)\n",
}


@pytest.mark.timeout(600)
@pytest.mark.behaviours(90, 114, 120, 172, 177)
def test_every_execution_is_readable_at_once_ends_and_is_counted(annals_instance: AnnalsInstance) -> None:
    with another_api(annals_instance) as other:
        clients = [Client(endpoint, annals_instance.headers) for endpoint in (annals_instance.endpoint, other)]
        runtimes = cycle(CODE)
        plan = [(f"load-{n}", next(runtimes)) for n in range(FUNCTIONS)]
        with ThreadPoolExecutor(4) as pool:
            names = list(pool.map(lambda f: clients[0].function(f[0], CODE[f[1]], runtime=f[1]), plan))

        def call(number: int) -> JSON:
            function = names[number % FUNCTIONS]
            writer, reader = clients[number % 2], clients[(number + 1) % 2]
            made = writer.execute(function, body=str(number), **({"async": True} if number % 3 == 0 else {}))
            read = reader.execution(function, made["$id"])
            assert read["status"] == made["status"] or made["status"] == "waiting"
            if made["status"] != "waiting":
                assert made["responseBody"] == str(number)
            return read

        with ThreadPoolExecutor(16) as pool:
            made = list(pool.map(call, range(FUNCTIONS * EXECUTIONS)))
        assert len({execution["$id"] for execution in made}) == FUNCTIONS * EXECUTIONS

        def ended(function: str) -> Counter[str]:
            statuses: Counter[str] = Counter()
            for offset in range(0, EXECUTIONS, 25):
                page = ['{"method":"limit","values":[25]}', f'{{"method":"offset","values":[{offset}]}}']
                answer = clients[1].call("GET", f"/functions/{function}/executions", params={"queries[]": page})
                assert answer["total"] == EXECUTIONS
                statuses.update(execution["status"] for execution in answer["executions"])
            return statuses

        def state() -> str:
            """Return the state of the instance for the message of a failure."""
            log = annals_instance.log.read_text()[-8000:]
            return f"{[(name, ended(name)) for name in names]} {annals_instance.processes()} {log}"

        completed = {"completed": EXECUTIONS}
        for function in names:
            eventually(lambda function=function: ended(function) == completed, 150, explain=state)  # type: ignore[misc]
            usage = clients[0].call("GET", f"/functions/{function}/usage", params={"range": "24h"})
            assert usage["executionsTotal"] == EXECUTIONS
            assert sum(point["value"] for point in usage["executions"]) == EXECUTIONS
    checked = annals("replay", "--check", "--json", "--data", str(annals_instance.data))
    assert checked.returncode == 0, checked.stdout + checked.stderr
