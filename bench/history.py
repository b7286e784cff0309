"""A generated history: months of real events of Annals, copied into a log in their order.

The seed alone determines the result. Calls follow the time of day, functions differ in calls and durations, some
calls fail, deployments change every week, and retention deletes as the keeper does.
"""

import heapq
import random
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import psycopg

from annals.domain.deployment import Deployment
from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.domain.function import Configuration, Function
from annals.domain.ports import Artefact, Reason
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.store.log.mapper import EventMapper

PROJECT = "history"
RETENTION = timedelta(days=14)
_REASONS: tuple[Reason, ...] = ("error", "timeout", "out_of_memory")
_SPECIFICATIONS = ("s-0.5vcpu-512mb", "s-1vcpu-512mb", "s-2vcpu-2gb")
_REQUEST = CallRequest(method="POST", path="/")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a history; `end` is the time of its last events."""

    executions: int
    end: datetime
    days: int = 90
    functions: int = 20
    seed: int = 1


class PastEvent(NamedTuple):
    recorded_at: datetime
    event: Any


def past_events(shape: Shape) -> Iterator[PastEvent]:
    """Return all events, in the order of the log."""
    return _History(shape).events()


def copy(conn: psycopg.Connection[Any], shape: Shape) -> int:
    """Write a history into an empty log, and return the number of its events."""
    mapper = EventMapper()
    mapper.compacts = True  # as on an instance
    to_stored = mapper.to_stored_event
    written = 0
    columns = "originator_id, originator_version, topic, state, recorded_at"
    with conn.cursor() as cursor, cursor.copy(f"COPY events ({columns}) FROM STDIN (FORMAT BINARY)") as rows:
        rows.set_types(["text", "int8", "text", "bytea", "timestamptz"])
        for past in past_events(shape):
            stored = to_stored(past.event)
            rows.write_row(
                (stored.originator_id, stored.originator_version, stored.topic, stored.state, past.recorded_at)
            )
            written += 1
    conn.commit()
    return written


class _History:
    def __init__(self, shape: Shape) -> None:
        self._shape, self._chance = shape, random.Random(shape.seed)
        self._position = 0
        self._sweeps = 0
        self._incarnations: dict[int, int] = {}
        self._deployments: dict[int, str] = {}
        self._requested: deque[tuple[datetime, int, int]] = deque()

    def events(self) -> Iterator[PastEvent]:
        for past in self._generate():
            self._position += 1
            yield past

    def _generate(self) -> Iterator[PastEvent]:
        shape = self._shape
        now = shape.end - timedelta(days=shape.days)
        step = timedelta(days=shape.days) / max(shape.executions, 1)
        running: list[tuple[datetime, int, Any]] = []
        yield from self._beginning(now)
        day = 0
        for number in range(shape.executions):
            at = _rhythm(now + step * number)
            while running and running[0][0] <= at:
                ended_at, _, event = heapq.heappop(running)
                yield PastEvent(ended_at, event)
            if (at - now).days > day:
                day = (at - now).days
                yield from self._every_day(at, day)
            index = min(int(self._chance.expovariate(0.35)), shape.functions - 1)
            self._requested.append((at, index, self._position + 1))
            outcome, took = self._call(number, index)
            yield PastEvent(at, self._request(number, index))
            heapq.heappush(running, (at + timedelta(milliseconds=took), number, outcome))
        while running:
            ended_at, _, event = heapq.heappop(running)
            yield PastEvent(ended_at, event)

    def _beginning(self, at: datetime) -> Iterator[PastEvent]:
        created = _created("project", PROJECT, "")
        yield PastEvent(at, Project.Created(**created, project_id=PROJECT, name="History"))
        for index in range(self._shape.functions):
            self._incarnations[index] = self._position + 1
            configuration = Configuration(
                name=f"Function {index}",
                runtime="node-22",
                build_specification="s-1vcpu-1gb",
                runtime_specification=_SPECIFICATIONS[index % 3],
            )
            yield PastEvent(
                at,
                Function.Created(
                    **_created("function", PROJECT, f"f{index}"),
                    project_id=PROJECT,
                    function_id=f"f{index}",
                    configuration=configuration,
                ),
            )
            yield from self._deploy(at, index, 0)

    def _every_day(self, at: datetime, day: int) -> Iterator[PastEvent]:
        if not day % 7:
            for index in range(self._shape.functions):
                yield from self._deploy(at, index, day // 7)
        yield from self._sweep(at)

    def _deploy(self, at: datetime, index: int, turn: int) -> Iterator[PastEvent]:
        deployment_id = f"f{index}-d{turn}"
        stream: dict[str, Any] = {"originator_id": Deployment.stream(PROJECT, deployment_id)}
        yield PastEvent(
            at,
            Deployment.UploadStarted(
                **_created("deployment", PROJECT, deployment_id),
                project_id=PROJECT,
                function_id=f"f{index}",
                function_incarnation=self._incarnations[index],
                deployment_id=deployment_id,
                type="manual",
                entrypoint="index.js",
                commands="",
                activate=True,
                size=1000,
            ),
        )
        size = self._chance.randrange(1_000, 200_000)
        source = Artefact(key=f"sources/{deployment_id}", digest="0" * 64, size=size)
        yield PastEvent(at, Deployment.SourceStored(**stream, originator_version=2, source=source))
        milliseconds = self._chance.randrange(500, 20_000)
        ended: dict[str, Any] = {
            "epoch": 1, "seconds": -(-milliseconds // 1000), "milliseconds": milliseconds,
            "specification": "s-1vcpu-1gb", "logs_digest": "", "logs_size": 0,
        }  # fmt: skip
        if turn and self._chance.random() < 0.2:
            failed = Deployment.BuildFailed(
                **stream, **ended, originator_version=3, reason="command_failed", message=""
            )
            yield PastEvent(at, failed)
            return
        built = Artefact(key=f"artefacts/{deployment_id}", digest="1" * 64, size=size * 2)
        yield PastEvent(at, Deployment.BuildSucceeded(**stream, **ended, originator_version=3, artefact=built))
        former = self._deployments.get(index)
        self._deployments[index] = deployment_id
        if former is not None and self._chance.random() < 0.5:
            last: dict[str, Any] = {"originator_id": Deployment.stream(PROJECT, former), "originator_version": 4}
            yield PastEvent(at, Deployment.Deleted(**last))

    def _sweep(self, at: datetime) -> Iterator[PastEvent]:
        """Sweep old executions of each function, as the keeper does every day."""
        newest: dict[int, int] = {}
        while self._requested and self._requested[0][0] < at - RETENTION:
            _, index, position = self._requested.popleft()
            newest[index] = position
        if newest and not self._sweeps:
            self._sweeps = 1
            yield PastEvent(at, Retention.Began(**_created("retention", PROJECT, ""), project_id=PROJECT))
        for index, up_to in sorted(newest.items()):
            self._sweeps += 1
            event = Retention.ExecutionsSwept(
                originator_id=Retention.stream(PROJECT),
                originator_version=self._sweeps,
                function_id=f"f{index}",
                function_incarnation=self._incarnations[index],
                up_to=up_to,
                reason="age",
            )
            yield PastEvent(at, event)

    def _request(self, number: int, index: int) -> Execution.Requested:
        return Execution.Requested(
            **_created("execution", PROJECT, f"e{number}"),
            project_id=PROJECT,
            function_id=f"f{index}",
            function_incarnation=self._incarnations[index],
            function_version=1,
            execution_id=f"e{number}",
            deployment_id=self._deployments[index],
            trigger="http" if number % 10 < 7 else "schedule" if number % 10 < 9 else "event",
            request=_REQUEST,
            worker="w",
            epoch=1,
        )

    def _call(self, number: int, index: int) -> tuple[Any, int]:
        """Return the end of an execution, and its milliseconds."""
        chance = self._chance
        run = min(int(chance.lognormvariate(3 + index % 5 * 0.6, 0.8)), 900_000)
        queue = int(chance.expovariate(0.2))
        cold = chance.random() < 0.02
        ran = RunRecord(
            deployment_id=self._deployments[index],
            function_version=1,
            environment_digest="e",
            specification=_SPECIFICATIONS[index % 3],
            cold=cold,
            queue_ms=queue,
            start_ms=80 if cold else 0,
            run_ms=run,
        )
        stream: dict[str, Any] = {"originator_id": f"execution:{PROJECT}:e{number}", "originator_version": 2}
        fate = chance.random()
        if fate < 0.97:
            return Execution.Completed(**stream, epoch=1, status_code=200, headers=[], ran=ran), run + queue
        if fate < 0.98:
            return Execution.Canceled(**stream), 5
        reason = chance.choice(_REASONS)
        unrun = chance.random() < 0.1
        failed = Execution.Failed(
            **stream, epoch=1, reason=reason, message="", status_code=500, ran=None if unrun else ran
        )  # fmt: skip
        return failed, run + queue


def _created(aggregate: str, project: str, identifier: str) -> dict[str, Any]:
    stream = f"{aggregate}:{project}:{identifier}" if identifier else f"{aggregate}:{project}"
    return {"originator_topic": aggregate, "originator_id": stream, "originator_version": 1}


def _rhythm(moment: datetime) -> datetime:
    """Return a moment with fewer calls at night: time passes faster then."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    share = (moment - midnight) / timedelta(days=1)
    found = midnight + timedelta(days=1) * (share**0.7 if share < 1 else share)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)
