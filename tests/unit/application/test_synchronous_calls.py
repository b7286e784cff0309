"""The states of a synchronous call: the way through them, and the appends of each way."""

import asyncio
import mmap
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from annals.application.executions import run as module
from annals.application.executions.context import Context, ContextDeployment, Environment, Prepared
from annals.application.executions.prepare import Preparation
from annals.application.executions.record_outcome import DeferredOutcomes
from annals.application.executions.request import ExecutionRequest
from annals.application.executions.run import FinishedCall, State, SynchronousCalls
from annals.capacity.fair_queue import FairQueue
from annals.capacity.limiter import CallLimiter
from annals.capacity.shared_memory import SIZE, TenantActivity
from annals.domain.execution import Execution
from annals.domain.policy import Policy, Scaling
from annals.domain.ports import Artefact, Outcome
from annals.store.content.inputs import Input
from annals.store.errors import StoreUnavailable, VariableUnreadable
from annals.store.log.log import Meta
from annals.store.log.reader import project_events

ARTEFACT = Artefact(key="a", digest="d", size=1)
DEPLOYMENT = ContextDeployment(
    stream="deployment:p:d",
    deployment_id="d",
    created_at=datetime.now(UTC),
    status="ready",
    type="manual",
    entrypoint="main.js",
    commands="",
    activate=True,
    source=ARTEFACT,
    artefact=ARTEFACT,
    origin={},
)
REQUEST = ExecutionRequest(
    project_id="p", execution_id="x", method="GET", path="/", input=Input(), meta=Meta(actor="key:k")
)
REQUESTED, COMPLETED, FAILED = (kind.TOPIC for kind in (Execution.Requested, Execution.Completed, Execution.Failed))


def context(concurrency: int = 0) -> Context:
    return Context(
        stream="function:p:f",
        incarnation=1,
        version=1,
        project_version=1,
        project_id="p",
        function_id="f",
        name="F",
        runtime="node-22",
        execute=["any"],
        enabled=True,
        logging=True,
        timeout=15,
        scopes=[],
        build_specification="s-1vcpu-512mb",
        runtime_specification="s-1vcpu-512mb",
        policy=Policy(scaling=Scaling(concurrency=concurrency)),
        deployment=DEPLOYMENT,
    )


class RecordingLog:
    """Keeps the topics of each append with its slot. The appends in `away` fail, and those of a request are kept."""

    def __init__(self, away: Sequence[int] = ()) -> None:
        self.appends: list[tuple[list[str], str]] = []
        self._away = list(away)
        self._count = 0
        self._events: list[Any] = []

    async def record(
        self,
        aggregates: Sequence[Execution],
        *,
        meta: Meta,
        contents: Any = (),
        takes: Any = None,
        gives_back: Any = None,
    ) -> Any:
        self._count += 1
        events: list[Any] = list(aggregates[0].collect_events())
        if self._count in self._away:
            if isinstance(events[0], Execution.Requested):
                self._events += events  # the append succeeded, and its answer was lost
            raise StoreUnavailable
        self._events += events
        slot = "takes" if takes else "gives back" if gives_back else ""
        self.appends.append(([event.TOPIC for event in events], slot))
        return SimpleNamespace(position=len(self._events), events=events, rows={})

    async def load(self, _key: Any) -> Any:
        return project_events(None, self._events)


class Slots:
    """Hands out a slot at once."""

    async def take(self, _slot: Any, begin: Callable[[], Awaitable[Execution]], *, seconds: float) -> Execution:
        return await begin()


class World(SimpleNamespace):
    calls: SynchronousCalls
    log: RecordingLog
    deferred: DeferredOutcomes
    states: list[State]

    async def run(self, *, concurrency: int = 0, repeatable: bool = False) -> FinishedCall:
        request = ExecutionRequest(
            **{name: getattr(REQUEST, name) for name in REQUEST.__struct_fields__ if name != "repeatable"},
            repeatable=repeatable,
        )
        return await self.calls.run(request, context(concurrency), None, lambda _position: None)


def world(
    monkeypatch: pytest.MonkeyPatch, *, away: Sequence[int] = (), unreadable: bool = False, coalesce: float = 60.0
) -> World:
    monkeypatch.setattr(module, "COALESCE_SECONDS", coalesce)
    states = [State.ADMITTED]
    enter = module._Call._enter

    def entered(call: Any, state: State) -> None:
        enter(call, state)
        states.append(state)

    monkeypatch.setattr(module._Call, "_enter", entered)

    async def of(known: Context) -> Prepared:
        if unreadable:
            raise VariableUnreadable("SECRET")
        return Prepared(known, Environment({}, "e"))

    async def routed(known: Context, _execution_id: str) -> Context:
        return known

    async def derive(_project: str, _purpose: str) -> bytes:
        return b"k" * 32

    async def execute(_run: Any) -> Outcome:
        await asyncio.sleep(0 if coalesce else 0.05)
        return Outcome(status_code=200, body=b"hello")

    environments: Any = SimpleNamespace(of=of, routed=routed)
    vault: Any = SimpleNamespace(derive=derive)
    log: Any = RecordingLog(away)
    executor: Any = SimpleNamespace(execute=execute)
    slots: Any = Slots()
    deferred = DeferredOutcomes()
    calls = SynchronousCalls(
        log=log,
        executor=executor,
        preparation=Preparation(environments, vault, start_seconds=1.0),
        deferred=deferred,
        call_limiter=CallLimiter(most=1, most_of_project=1, queue=1),
        fair_queue=FairQueue(TenantActivity(mmap.mmap(-1, SIZE), lambda: 1.0)),
        slots=slots,
        worker="api-1",
        longest_seconds=30,
    )
    return World(calls=calls, log=log, deferred=deferred, states=states)


async def test_short_call_is_recorded_in_one_append(monkeypatch: pytest.MonkeyPatch) -> None:
    short = world(monkeypatch)

    finished = await short.run()

    assert short.states == [State.ADMITTED, State.PREPARED, State.STARTED, State.ENDED, State.RECORDED]
    assert short.log.appends == [([REQUESTED, COMPLETED], "")]
    assert finished.ended.outcome.body == b"hello"


@pytest.mark.parametrize(("coalesce", "repeatable"), [(0.0, False), (60.0, True)], ids=["long", "repeatable"])
async def test_request_of_a_long_or_repeatable_call_is_recorded_first(
    monkeypatch: pytest.MonkeyPatch, coalesce: float, *, repeatable: bool
) -> None:
    recorded = world(monkeypatch, coalesce=coalesce)

    await recorded.run(repeatable=repeatable)

    running = [State.STARTED, State.RUNNING, State.ENDED]
    assert recorded.states == [State.ADMITTED, State.PREPARED, *running, State.RECORDED]
    assert recorded.log.appends == [([REQUESTED], ""), ([COMPLETED], "")]


async def test_limited_function_takes_a_slot_before_its_code_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = world(monkeypatch)

    await limited.run(concurrency=1)

    assert limited.states == [State.ADMITTED, State.PREPARED, State.RUNNING, State.ENDED, State.RECORDED]
    assert limited.log.appends == [([REQUESTED], "takes"), ([COMPLETED], "gives back")]


async def test_call_with_an_unreadable_variable_ends_without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = world(monkeypatch, unreadable=True)

    finished = await unreadable.run()

    assert unreadable.states == [State.ADMITTED, State.ENDED, State.RECORDED]
    assert unreadable.log.appends == [([REQUESTED, FAILED], "")]
    assert finished.ended.outcome.reason == "variable_unreadable"


@pytest.mark.parametrize(
    ("coalesce", "away", "before", "recorded"),
    [
        (0.0, 1, [State.STARTED], [FAILED]),
        (0.0, 2, [State.STARTED, State.RUNNING, State.ENDED], [COMPLETED]),
        (60.0, 1, [State.STARTED, State.ENDED], []),
    ],
    ids=["request", "outcome", "both"],
)
async def test_outcome_is_recorded_later_after_an_outage(
    monkeypatch: pytest.MonkeyPatch, coalesce: float, away: int, before: list[State], recorded: list[str]
) -> None:
    outage = world(monkeypatch, away=[away], coalesce=coalesce)

    with pytest.raises(StoreUnavailable):
        await outage.run()

    assert outage.states == [State.ADMITTED, State.PREPARED, *before, State.DEFERRED]
    await asyncio.gather(*outage.deferred._tasks)
    assert outage.log.appends[-1] == (recorded, "")


async def test_other_transitions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = world(monkeypatch)
    call = module._Call(finished.calls, REQUEST, context(), lambda _position: None)

    with pytest.raises(AssertionError, match="cannot go from ADMITTED to RECORDED"):
        call._enter(State.RECORDED)
