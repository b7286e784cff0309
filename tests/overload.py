"""`make overload`: ten times as many callers as an instance can serve, for a minute.

Prints the sustained rate, the offered, accepted and shed calls, the time of the recovery, and the lost executions.
Fails if an accepted execution was lost, an answer was wrong, or the recovery took long.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter

import httpx

from tests.client import Client
from tests.instance import AnnalsInstance, eventually, instance_of_its_own
from tests.load.test_overload import CODE, DRIFT, Crowd

SUSTAINED_CALLERS = 150
RECOVERED_SECONDS = 10
ENDS_SECONDS = 300
"""The time limit of all accepted executions."""


def load(instance: AnnalsInstance, callers: int, seconds: float) -> Crowd:
    """Let a crowd call for some seconds, and return it with its results."""
    crowd = Crowd(instance, callers)
    asyncio.run(crowd.call(seconds))
    return crowd


def ended(client: Client, crowd: Crowd) -> Counter[str]:
    """Return the last statuses of the asynchronous executions, after they ended or the time limit passed."""
    deadline = time.monotonic() + ENDS_SECONDS
    found: Counter[str] = Counter()
    for one in crowd.accepted:
        while (status := client.execution("overloaded", one)["status"]) in {"waiting", "processing"}:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        found[status] += 1
    return found


def overload(instance: AnnalsInstance, times: int, seconds: float) -> bool:
    """Return True if no execution was lost, no answer was wrong, and the instance recovered soon."""
    client = Client(instance.endpoint, instance.headers)
    client.function("overloaded", CODE, timeout=30)
    client.execute("overloaded")
    calm = load(instance, SUSTAINED_CALLERS, 10)
    served = calm.statuses[201] + calm.statuses[202]
    print(f"sustained: {served / 10:.0f} a second by {SUSTAINED_CALLERS} callers {dict(calm.statuses)}", flush=True)
    ended(client, calm)

    callers = SUSTAINED_CALLERS * times
    crowd = load(instance, callers, seconds)
    shed, accepted = crowd.statuses[429] + crowd.statuses[503], crowd.statuses[201] + crowd.statuses[202]
    print(f"offered: {crowd.statuses.total()} calls by {callers} callers; accepted {accepted}, shed {shed}")

    began = time.monotonic()
    eventually(lambda: client.http.post("/functions/overloaded/executions", json={}).status_code == 201, 60)
    recovered = time.monotonic() - began
    print(f"recovered in {recovered:.1f} s", flush=True)
    ends = ended(client, crowd)
    lost = len(crowd.accepted) - ends["completed"]
    metrics = httpx.get(instance.endpoint.removesuffix("/v1") + "/metrics", timeout=10).text
    drift = DRIFT.findall(metrics)
    print(f"asynchronous executions: {len(crowd.accepted)}, ended {dict(ends)}; lost {lost}, drift {drift}")
    print("\n".join(crowd.wrong[:10]) or "no answer was wrong")
    return not (lost or crowd.wrong) and drift == ["0"] and recovered < RECOVERED_SECONDS


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--times", type=int, default=10, help="callers as a multiple of the sustained ones")
    chosen = options.parse_args()
    with instance_of_its_own() as running:
        passed = overload(running, chosen.times, chosen.seconds)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
