"""The simulated Postgres: sessions that break, locks that wait, and commits that are applied or lost.

The effect of a statement is Python code, registered by its text (`statements_*.py`).
"""

import asyncio
import contextvars
import functools
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors as pg

from annals.store.log.append_modes import FREED_SLOTS, LOCK, QUERIES
from annals.store.log.follower import QUERIES as FOLLOWER
from annals.store.postgres.listener import APPENDS
from tests.simulation.loop import Node, SimulatedLoop
from tests.simulation.transactions import STATEMENTS, Faults, Key, Lock, Pipeline, Row, Session, Tx, UnknownStatement

_APPEND_LOCK_SECONDS = 2.0
_SERVER = contextvars.Context()
"""Work of the server itself belongs to no node: it goes on when a client dies."""


class Postgres:
    """The server. It calls `committed` with the events of each commit before any session can read them."""

    def __init__(
        self,
        loop: SimulatedLoop,
        rng: random.Random,
        now: Callable[[], datetime],
        committed: Callable[[list[Row]], None],
    ) -> None:
        self.loop, self.now = loop, now
        self._rng, self._committed = rng, committed
        self.tables: dict[str, dict[Key, Row]] = {}
        self.events: list[Row] = []
        self.streams: dict[str, list[Row]] = {}
        self.sessions: list[Session] = []
        self.locks: dict[object, Lock] = {}
        self.faults = Faults()
        self.up = True
        self._position = 0

    def next_position(self) -> int:
        self._position += 1
        return self._position

    def open(self, node: Node | None) -> Session:
        """Open a session. Raises OperationalError while the server is down."""
        if not self.up:
            raise psycopg.OperationalError("connection refused")
        session = Session(node)
        self.sessions.append(session)
        return session

    def crash(self) -> None:
        """End all sessions. Uncommitted work is lost, committed work is not."""
        self.up = False
        for session in list(self.sessions):
            self.end(session)

    def restart(self) -> None:
        self.up = True

    def end_of_node(self, node: Node) -> None:
        """Break the node's connections. The server still runs statements that it has received."""
        for session in [s for s in self.sessions if s.node is node]:
            self.hang_up(session)

    def hang_up(self, session: Session) -> None:
        """Close the session of a client that has gone. The server may still run its statements."""
        if session.run_pipeline is None:
            self.end(session)
        else:
            self._later(lambda: self.end(session))

    def end_idle(self, node: Node) -> None:
        """End the idle transactions and the lead of a frozen node by their time-outs."""
        for session in [s for s in self.sessions if s.node is node]:
            if session.tx is not None or session.leads:
                self.end(session)

    def end(self, session: Session) -> None:
        if not session.alive:
            return
        session.alive = False
        self.sessions.remove(session)
        session.tx = None
        if session.run_pipeline is not None:
            self._finish(session.run_pipeline, psycopg.OperationalError("the server closed the connection"))
        self._release(session)

    def send(self, run_pipeline: Pipeline) -> "asyncio.Future[None]":
        run_pipeline.answer = self.loop.create_future()
        run_pipeline.session.run_pipeline = run_pipeline
        self._later(lambda: self._arrive(run_pipeline))
        return run_pipeline.answer

    def abandon(self, run_pipeline: Pipeline) -> None:
        """Cancel a pipeline: the server may or may not have begun it."""
        if not run_pipeline.over:
            self._leave_queues(run_pipeline)
            self._finish(run_pipeline, pg.QueryCanceled("canceling statement due to user request"))
            if run_pipeline.session.tx is not None:
                run_pipeline.session.tx.aborted = True

    def notify(self, channel: str, payload: str) -> None:
        for session in self.sessions:
            if session.listening is not None and session.channel == channel:
                self._later(functools.partial(session.listening, payload))

    def rows(self, table: str) -> Mapping[Key, Row]:
        return self.tables.get(table, {})

    def _later(self, callback: Callable[[], None]) -> None:
        self.loop.call_later(0.0001 + self._rng.random() ** 4 * 0.02, callback, context=_SERVER)

    def _arrive(self, run_pipeline: Pipeline) -> None:
        if run_pipeline.over:
            return
        if self._rng.random() < self.faults.before:
            self.end(run_pipeline.session)
        elif run_pipeline.session.alive:
            self._go_on(run_pipeline)

    def _go_on(self, run_pipeline: Pipeline) -> None:
        if run_pipeline.over:
            return
        if run_pipeline.timeout is not None:
            run_pipeline.timeout.cancel()
        if run_pipeline.alone and run_pipeline.session.tx is None:
            run_pipeline.session.tx = Tx(self)
        while run_pipeline.at < len(run_pipeline.operations):
            text, params, many, results = run_pipeline.operations[run_pipeline.at]
            lock = self._wanted_lock(run_pipeline.session, text, params)
            if lock is not None:
                lock.waiting.append(run_pipeline)
                if text == QUERIES["lock"]:
                    run_pipeline.timeout = self.loop.call_later(
                        _APPEND_LOCK_SECONDS, self._give_up, run_pipeline, context=_SERVER
                    )
                return
            try:
                for one in params if many else [params]:
                    results.append(self._execute(run_pipeline.session, text, one))
            except psycopg.Error as error:
                self._fail(run_pipeline)
                run_pipeline.error = error
                break
            except Exception as error:  # an unknown statement is an error of the simulation
                run_pipeline.error = error
                break
            run_pipeline.at += 1
        if run_pipeline.alone and run_pipeline.error is None:
            self.commit(run_pipeline.session, "")
        if self._rng.random() < self.faults.after:
            self.end(run_pipeline.session)
        else:
            self._later(lambda: self._finish(run_pipeline, run_pipeline.error))

    def _finish(self, run_pipeline: Pipeline, error: Exception | None) -> None:
        if run_pipeline.over:
            return
        run_pipeline.over = True
        run_pipeline.session.run_pipeline = None
        self._leave_queues(run_pipeline)
        if run_pipeline.answer is not None and not run_pipeline.answer.done():
            if error is None:
                run_pipeline.answer.set_result(None)
            else:
                run_pipeline.answer.set_exception(error)

    def _give_up(self, run_pipeline: Pipeline) -> None:
        if not run_pipeline.over:
            self._leave_queues(run_pipeline)
            self._fail(run_pipeline)
            self._finish(run_pipeline, pg.LockNotAvailable("canceling statement due to lock timeout"))

    def _fail(self, run_pipeline: Pipeline) -> None:
        if run_pipeline.alone:
            self.rollback(run_pipeline.session, "")
        elif run_pipeline.session.tx is not None:
            run_pipeline.session.tx.aborted = True

    def _leave_queues(self, run_pipeline: Pipeline) -> None:
        if run_pipeline.timeout is not None:
            run_pipeline.timeout.cancel()
        for lock in self.locks.values():
            if run_pipeline in lock.waiting:
                lock.waiting.remove(run_pipeline)

    def _wanted_lock(self, session: Session, text: str, params: Any) -> Lock | None:
        """Return the lock that a statement has to wait for."""
        if text == QUERIES["lock"]:
            name: object = LOCK
        elif text in {FOLLOWER["lock"], FOLLOWER["move_from"]}:
            name = ("follower", params["name"])
        else:
            return None
        lock = self.locks.setdefault(name, Lock())
        if lock.owner is None or lock.owner is session:
            lock.owner = session
            return None
        return lock

    def _execute(self, session: Session, text: str, params: Any) -> list[Row]:
        command = _COMMANDS.get(text.split(maxsplit=1)[0])
        if command is not None:
            return command(self, session, text) or []
        if session.tx is not None:
            if session.tx.aborted:
                raise pg.InFailedSqlTransaction("current transaction is aborted")
            return self._statement(session.tx, session, text, params)
        tx = Tx(self)
        rows = self._statement(tx, session, text, params)
        self._commit(tx)
        if text == FOLLOWER["move_from"]:
            self._release(session)
        return rows

    def _statement(self, tx: Tx, session: Session, text: str, params: Any) -> list[Row]:
        if "pg_try_advisory_lock" in text:
            lock = self.locks.setdefault("lead", Lock())
            session.leads = lock.owner is None or lock.owner is session
            lock.owner = session if session.leads else lock.owner
            return [{"held": session.leads}]
        statement = STATEMENTS.get(text)
        if statement is None:
            raise UnknownStatement(text)
        return statement(tx, params)

    def begin(self, session: Session, _text: str) -> None:
        session.tx = Tx(self)

    def commit(self, session: Session, _text: str) -> None:
        tx, session.tx = session.tx, None
        if tx is not None and not tx.aborted:
            self._commit(tx)
        self._release(session)

    def rollback(self, session: Session, text: str) -> None:
        if "SAVEPOINT" in text:
            if session.tx is not None:
                session.tx.restore()
            return
        session.tx = None
        self._release(session)

    def savepoint(self, session: Session, _text: str) -> None:
        if session.tx is not None:
            session.tx.save()

    def nothing(self, session: Session, _text: str) -> None:
        return

    def _commit(self, tx: Tx) -> None:
        for name, changes in tx.overlay.items():
            table = self.tables.setdefault(name, {})
            for key, row in changes.items():
                if row is None:
                    table.pop(key, None)
                else:
                    table[key] = row
        if tx.events:
            self.events.extend(tx.events)
            for event in tx.events:
                self.streams.setdefault(event["originator_id"], []).append(event)
            self._committed(tx.events)
            self.notify(APPENDS, "")
        for slot in dict.fromkeys(tx.freed_slots):
            self.notify(FREED_SLOTS, slot)

    def _release(self, session: Session) -> None:
        for name, lock in self.locks.items():
            if lock.owner is session and not (session.alive and name == "lead"):
                lock.owner = None
                if lock.waiting:
                    run_pipeline = lock.waiting.popleft()
                    lock.owner = run_pipeline.session
                    self.loop.call_soon(self._go_on, run_pipeline, context=_SERVER)


_COMMANDS: Mapping[str, Callable[[Postgres, Session, str], Any]] = {
    "BEGIN": Postgres.begin,
    "COMMIT": Postgres.commit,
    "ROLLBACK": Postgres.rollback,
    "SAVEPOINT": Postgres.savepoint,
    "RELEASE": Postgres.nothing,
    "SET": Postgres.nothing,
    "LISTEN": Postgres.nothing,
}
