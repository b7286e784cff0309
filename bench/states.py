"""The dictionary that compresses the states of executions: `python -m bench.states [number]` trains a new one.

The samples are events of Annals' own classes as instances of many kinds record them, generated from a fixed seed.
A released dictionary is never overwritten: a new one gets the next number.
"""

import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import zstandard

import annals.store.log.compact_states
from annals.domain.execution import CallRequest, Execution, Header, RunRecord
from annals.domain.policy import Retries
from annals.domain.ports import Reason
from annals.store.log.log import Meta
from annals.store.log.mapper import EventMapper

SIZE, SAMPLES, SEED = 4096, 4000, 1
FOLDER = Path(annals.store.log.compact_states.__file__).parent

_METHODS = ("GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
_WORDS = ("orders", "users", "v1", "webhooks", "stripe", "sync", "images", "resize", "api", "search", "health", "login")
_KINDS = ("application/json", "application/json; charset=utf-8", "text/plain; charset=utf-8", "text/html", "image/png")
_SPECIFICATIONS = ("s-0.5vcpu-512mb", "s-1vcpu-512mb", "s-1vcpu-1gb", "s-2vcpu-2gb", "s-4vcpu-4gb")
_AGENTS = ("Mozilla/5.0", "curl/8.5.0", "python-httpx/0.28.1", "node", "okhttp/4.12.0", "Stripe/1.0")
_TRIGGERS = ("users.{0}.create", "users.{0}.sessions.{1}.create", "functions.{0}.executions.{1}.create")
_MESSAGES = (
    "The code answered 500.",
    "The run took longer than the function's timeout of 15 seconds.",
    "The process ended with code 1.",
    "The worker was lost while it ran.",
    "TypeError: Cannot read properties of undefined (reading 'id')",
)


class _World:
    """Generates the events of executions from one seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._projects = [f"project-{n}" for n in range(6)] + ["default"] * 6
        self._functions = [self._id() if n % 2 else f"{self._word()}-{n}" for n in range(60)]
        self._deployments = {function: self._id() for function in self._functions}
        self._environments = {function: self._hex(32) for function in self._functions}
        self._hosts = [f"{word}-{self._hex(8)}" for word in ("api", "worker", "host")]
        self._host, self._request_id = self._hosts[0], ""

    def events(self) -> Iterator[Any]:
        while True:
            yield from self._execution()

    def _execution(self) -> Iterator[Any]:
        pick, project, function = self._chance.choice, self._one(self._projects), self._one(self._functions)
        execution_id, self._now = self._id(), self._later(86_400_000)
        kind = pick(["now", "now", "now", "now", "async", "async", "schedule", "event"])
        worker = f"api-{self._hex(8)}" if kind == "now" else ""
        requested = Execution.Requested(
            **self._common(project, execution_id, 1, kind),
            originator_topic="execution",
            project_id=project,
            function_id=function,
            function_incarnation=self._chance.randint(2, 90_000),
            function_version=self._chance.randint(1, 60),
            execution_id=execution_id,
            deployment_id=self._deployments[function] if kind == "now" else "",
            trigger="http" if kind in {"now", "async"} else kind,  # type: ignore[arg-type]
            request=self._request(kind),
            scheduled_at=self._later(10_000_000) if kind == "async" and self._once(4) else None,
            worker=worker,
            epoch=1 if worker else 0,
            slot=self._now.replace(second=0, microsecond=0) if kind == "schedule" else None,
            late=kind == "schedule" and self._once(20),
            retries=Retries(attempts=self._chance.randint(2, 8)) if kind != "now" and self._once(3) else None,
            redrives=self._id() if self._once(50) else "",
        )
        yield requested
        yield from self._run(requested, kind)

    def _run(self, requested: Any, kind: str) -> Iterator[Any]:
        version, epoch = 1, requested.epoch
        while True:
            if not epoch or version > 1:
                version, epoch = version + 1, epoch + 1
                yield Execution.Claimed(
                    **self._common(requested.project_id, requested.execution_id, version, "worker"),
                    worker=self._host,
                    epoch=epoch,
                )
            version += 1
            self._now = self._later(900)
            common = self._common(
                requested.project_id, requested.execution_id, version, kind if kind == "now" else "worker"
            )
            ended = {**common, "epoch": epoch, **self._outcome(requested)}
            if self._chance.random() < 0.85:
                yield Execution.Completed(**ended, status_code=self._one((200, 200, 200, 201, 204, 302, 404)))
                return
            ended |= {"reason": self._one(get_args(Reason)), "message": self._one(_MESSAGES)}
            ended["status_code"] = self._one((500, 500, 502, 0))
            if requested.retries is None:
                yield Execution.Failed(**ended)
                return
            if epoch >= requested.retries.attempts:
                yield Execution.DeadLettered(**{**ended, "reason": "dead_lettered"}, cause="error")
                return
            yield Execution.RetryScheduled(**ended, due_at=self._later(60_000))

    def _outcome(self, requested: Any) -> dict[str, Any]:
        written = {"logs": self._once(2), "errors": self._once(5)}
        found: dict[str, Any] = {f"{name}_digest": self._hex(64) for name, present in written.items() if present}
        found |= {f"{name}_size": self._chance.randint(1, 9000) for name, present in written.items() if present}
        found["headers"] = [Header("content-type", self._one(_KINDS))] if self._once(1.3) else []
        if self._once(3):
            found["headers"].append(Header("content-length", str(self._chance.randint(0, 9000))))
        found["ran"] = RunRecord(
            deployment_id=self._deployments[requested.function_id],
            function_version=requested.function_version,
            environment_digest=self._environments[requested.function_id],
            specification=self._one(_SPECIFICATIONS),
            cold=self._once(10),
            host=self._one(self._hosts),
            queue_ms=0 if requested.worker else self._chance.randint(0, 90),
            start_ms=self._chance.randint(0, 400) if self._once(10) else 0,
            run_ms=int(self._chance.lognormvariate(3, 1.5)),
        )
        return found

    def _request(self, kind: str) -> CallRequest:
        path = "/" if self._once(3) else "/" + "/".join(self._word() for _ in range(self._chance.randint(1, 3)))
        sealed = {} if kind == "now" else {"input_digest": self._hex(64), "input_size": self._chance.randint(90, 4000)}
        if kind in {"schedule", "event"}:
            name = self._one(_TRIGGERS).format(self._id(), self._id()) if kind == "event" else ""
            return CallRequest(method="POST", path="/", event=name, **sealed)  # type: ignore[arg-type]
        headers = [Header("content-type", self._one(_KINDS))] if self._once(2) else []
        headers += [Header("user-agent", self._one(_AGENTS))] if self._once(2) else []
        user = self._id() if self._once(4) else ""
        return CallRequest(method=self._one(_METHODS), path=path, headers=headers, user_id=user, **sealed)  # type: ignore[arg-type]

    def _common(self, project: str, execution_id: str, version: int, kind: str) -> dict[str, Any]:
        self._request_id = self._id() if version == 1 else self._request_id
        request, address = self._request_id, f"203.0.{self._chance.randint(0, 255)}.{self._chance.randint(1, 254)}"
        actors = {
            "now": self._one((f"key:{self._id()}", f"user:{self._id()}", "guest")),
            "async": f"key:{self._id()}",
        }
        caused = str(self._chance.randint(1, 3_000_000))
        meta = {
            "now": Meta(actor=actors["now"], request=request, correlation=request, address=address),
            "async": Meta(actor=actors["async"], request=request, correlation=request, address=address),
            "event": Meta(actor="event", causation=caused, correlation=request, depth="1"),
            "schedule": Meta(actor="schedule"),
        }.get(kind, Meta(actor=f"worker:{self._host}", causation=caused, correlation=request))
        return {
            "originator_id": Execution.stream(project, execution_id),
            "originator_version": version,
            "timestamp": self._now,
            "metadata": msgspec.to_builtins(meta),
        }

    def _later(self, at_most_ms: int) -> datetime:
        return self._now + timedelta(microseconds=self._chance.randint(1, at_most_ms * 1000))

    def _once(self, in_so_many: float) -> bool:
        return self._chance.random() * in_so_many < 1

    def _one(self, of: Any) -> Any:
        return self._chance.choice(of)

    def _word(self) -> str:
        return str(self._one(_WORDS))

    def _hex(self, digits: int) -> str:
        return self._chance.randbytes(digits // 2).hex()

    def _id(self) -> str:
        return f"{int(self._now.timestamp() * 1_000_000):013x}{self._hex(8)[1:]}"


def states(count: int, seed: int = SEED) -> list[bytes]:
    """Return the plain states of a number of events."""
    to_stored, events = EventMapper().to_stored_event, _World(seed).events()
    return [to_stored(next(events)).state for _ in range(count)]


def train(number: int) -> bytes:
    """Train a dictionary; the same version of zstd gives the same bytes."""
    return zstandard.train_dictionary(SIZE, [*states(SAMPLES)], level=3, dict_id=number).as_bytes()


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else annals.store.log.compact_states.NEWEST + 1
    path = FOLDER / f"{number}.dict"
    with path.open("xb") as file:  # an existing dictionary was released
        file.write(train(number))


if __name__ == "__main__":
    main()
