"""`make overload`: ten times as many callers as can be served, for a minute, and what became of what was accepted.

Prints what is sustained, offered, accepted and shed, how soon it was as before, and what was lost.
Fails when anything was lost or answered wrongly, or recovery took long.
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
"""How long what was accepted may take until all of it has ended."""


def pressed(instance: AnnalsInstance, callers: int, seconds: float) -> Crowd:
    """A crowd that has gone, each of which asked for so long."""
    crowd = Crowd(instance, callers)
    asyncio.run(crowd.press(seconds))
    return crowd


def ended(client: Client, crowd: Crowd) -> Counter[str]:
    """How each of those that were accepted for later has ended; one that has not within the time is told as it is."""
    deadline = time.monotonic() + ENDS_SECONDS
    found: Counter[str] = Counter()
    for one in crowd.later:
        while (status := client.execution("crowded", one)["status"]) in {"waiting", "processing"}:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        found[status] += 1
    return found


def overload(instance: AnnalsInstance, times: int, seconds: float) -> bool:
    """Whether all was well."""
    client = Client(instance.endpoint, instance.headers)
    client.function("crowded", CODE, timeout=30)
    client.execute("crowded")
    calm = pressed(instance, SUSTAINED_CALLERS, 10)
    served = calm.statuses[201] + calm.statuses[202]
    print(f"sustained: {served / 10:.0f} a second by {SUSTAINED_CALLERS} callers {dict(calm.statuses)}", flush=True)
    ended(client, calm)

    callers = SUSTAINED_CALLERS * times
    crowd = pressed(instance, callers, seconds)
    shed, accepted = crowd.statuses[429] + crowd.statuses[503], crowd.statuses[201] + crowd.statuses[202]
    print(f"offered: {crowd.statuses.total()} calls by {callers} callers; accepted {accepted}, shed {shed}")

    began = time.monotonic()
    eventually(lambda: client.http.post("/functions/crowded/executions", json={}).status_code == 201, 60)
    recovered = time.monotonic() - began
    print(f"recovered in {recovered:.1f} s", flush=True)
    ends = ended(client, crowd)
    lost = len(crowd.later) - ends["completed"]
    metrics = httpx.get(instance.endpoint.removesuffix("/v1") + "/metrics", timeout=10).text
    drift = DRIFT.findall(metrics)
    print(f"accepted for later: {len(crowd.later)}, ended {dict(ends)}; lost {lost}, drift {drift}")
    print("\n".join(crowd.wrong[:10]) or "none was answered wrongly")
    return not (lost or crowd.wrong) and drift == ["0"] and recovered < RECOVERED_SECONDS


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--times", type=int, default=10, help="how many times what is sustained")
    chosen = options.parse_args()
    with instance_of_its_own() as running:
        well = overload(running, chosen.times, chosen.seconds)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
