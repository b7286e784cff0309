"""The raw-socket fuzzer: each case is one connection, generated from the seed and the case's number alone."""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.fuzz.answers import Answer, fault_of, read_answers
from tests.fuzz.framing import Script, script
from tests.fuzz.requests import World, corpus

HANG_SECONDS = 60.0
"""The time limit of the answer to a whole request."""

QUIET_SECONDS, SILENT_SECONDS = 0.3, 1.5
"""How long the fuzzer waits for the answer to a broken request: after its last byte, and before its first."""

FUNCTIONS = b"functions.localhost"
"""The domain of the functions, which answer for themselves."""

MINIMISING_STEPS, MINIMISING_SECONDS = 150, 60.0
MOST_FINDINGS = 20
"""The fuzzer stops after so many findings, since they have few causes."""

THREADS = 4


class Finding(NamedTuple):
    """A fault, and the input that causes it."""

    fault: str
    replay: str

    def __str__(self) -> str:
        return f"{self.fault}\n    {self.replay}"


class Outcome(NamedTuple):
    """The outcome of a connection: its answers, and the description of a fault."""

    answers: list[Answer]
    fault: str | None


def case(seed: int, number: int, world: World) -> Script:
    """Return the script of a case; the seed and the number determine it, but for the keys of the instance."""
    return script(corpus(world), random.Random(f"{seed}-{number}"), f"fuzz{seed}case{number}")


def play(endpoint: str, one: Script, *, hang_seconds: float = HANG_SECONDS) -> Outcome:
    """Send a script to an instance, and check its answers."""
    received, fault = _exchange(endpoint, one, hang_seconds)
    try:
        answers = read_answers(received)
    except ValueError as error:
        return Outcome([], fault or (None if _by_function(one) else str(error)))
    judged = [answer for answer in answers if answer.whole or one.well_framed]  # a broken request may cut one off
    faults = [fault] + [fault_of(answer) for answer in judged if not _is_functions_own(answer, one)]
    if one.leaves:
        faults = [None]
    elif one.well_framed and not answers and fault is None:
        faults.append(None if received == _RESET else "a whole request was not answered")
    return Outcome(answers, next((description for description in faults if description), None))


_RESET = b""
"""No bytes came: the server may have closed while bytes were in transit, so its answer may be lost."""


def _by_function(one: Script) -> bool:
    return FUNCTIONS in one.sent.lower()


def _is_functions_own(answer: Answer, one: Script) -> bool:
    """Return True if a function may have made the answer; answers of the API have their own `server` header."""
    return answer.headers.get("server") != "Appwrite" and _by_function(one)


def _exchange(endpoint: str, one: Script, hang_seconds: float) -> tuple[bytes, str | None]:
    """Return all bytes received until the connection ended or went quiet, and the description of a fault."""
    parts = urlsplit(endpoint)
    received, reset = b"", False
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=hang_seconds) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in one.pieces:
                wire.sendall(piece)
                if one.pause:
                    time.sleep(one.pause)
        except TimeoutError:
            return b"", f"the server stopped reading for {hang_seconds:g} s"
        except ConnectionError:
            reset = True
        if one.leaves:
            if one.resets:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b"", None
        deadline = time.monotonic() + hang_seconds
        try:
            while time.monotonic() < deadline:
                wire.settimeout(hang_seconds if one.well_framed else QUIET_SECONDS if received else SILENT_SECONDS)
                piece = wire.recv(65536)
                received += piece
                if not piece or b"content-type: text/event-stream" in received:
                    break
            else:
                return received, f"no end of the answer in {hang_seconds:g} s"
        except TimeoutError:
            return received, f"no answer in {hang_seconds:g} s" if one.well_framed else None
        except ConnectionError:
            reset = True
    if one.well_framed and not received and not reset:
        return received, "the connection was closed without an answer"
    return received, None


def minimised(one: Script, still_fails: Callable[[Script], bool]) -> Script:
    """Return a smaller script that still fails: without pauses, then without lines, then without parts of its bytes."""
    deadline = time.monotonic() + MINIMISING_SECONDS
    best = one
    for smaller in islice(_smaller(one), MINIMISING_STEPS):
        if time.monotonic() > deadline:
            break
        candidate = smaller(best)
        if candidate is not None and len(candidate.sent) <= len(best.sent) and still_fails(candidate):
            best = candidate
    return best


def _smaller(one: Script) -> Iterator[Callable[[Script], Script | None]]:
    """Yield functions that make a script smaller, larger steps first."""
    yield lambda best: Script((best.sent,), well_framed=best.well_framed)
    lines = one.sent.count(b"\r\n") + 1
    for number in reversed(range(min(lines, 60))):
        yield lambda best, number=number: _without_line(best, number)  # type: ignore[misc]
    for share in (2, 4, 8, 16, 32):
        for number in reversed(range(share)):
            yield lambda best, number=number, share=share: _without_share(best, number, share)  # type: ignore[misc]


def _without_line(best: Script, number: int) -> Script | None:
    lines = best.sent.split(b"\r\n")
    if number >= len(lines) or not lines[number]:
        return None
    return best._replace(pieces=(b"\r\n".join(lines[:number] + lines[number + 1 :]),), well_framed=False)


def _without_share(best: Script, number: int, share: int) -> Script | None:
    size = len(best.sent) // share
    if not size:
        return None
    data = best.sent[: number * size] + best.sent[(number + 1) * size :]
    return best._replace(pieces=(data,), well_framed=False)


class RawFuzzer:
    """Plays cases on a few threads, and collects findings and coverage."""

    def __init__(self, world: World, seed: int, *, most_findings: int = MOST_FINDINGS) -> None:
        self._world, self._seed, self._most_findings = world, seed, most_findings
        self._lock, self._next = threading.Lock(), 0
        self.findings: list[Finding] = []
        self.statuses: Counter[int] = Counter()
        self.cases = 0

    def run(self, *, seconds: float, most: int | None = None) -> None:
        """Play cases for some seconds, or at most `most` cases."""
        deadline = time.monotonic() + seconds
        last = None if most is None else self._next + most
        workers = [threading.Thread(target=self._work, args=(deadline, last)) for _ in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _work(self, deadline: float, last: int | None) -> None:
        while time.monotonic() < deadline and len(self.findings) < self._most_findings:
            with self._lock:
                number, self._next = self._next, self._next + 1
            if last is not None and number >= last:
                return
            try:
                self._play(number)
            except Exception as error:  # otherwise this thread would end, and the fuzzer would find less
                with self._lock:
                    self.findings.append(Finding(f"the fuzzer failed: {error!r}", f"case {number}"))

    def _play(self, number: int) -> None:
        one = case(self._seed, number, self._world)
        try:
            outcome = play(self._world.endpoint, one)
        except OSError as error:
            outcome = Outcome([], f"no connection: {error}")
        with self._lock:
            self.cases += 1
            self.statuses.update(answer.status for answer in outcome.answers)
        if outcome.fault is not None:
            found = self._finding(number, one, outcome.fault)
            with self._lock:
                self.findings.append(found)

    def _finding(self, number: int, one: Script, fault: str) -> Finding:
        def still_fails(candidate: Script) -> bool:
            with suppress(OSError):
                return (play(self._world.endpoint, candidate).fault or "")[:12] == fault[:12]
            return False

        smallest = one if fault.startswith("no ") else minimised(one, still_fails)
        sent = smallest.sent.replace(self._world.key.encode(), b"KEY").replace(self._world.low_key.encode(), b"LOWKEY")
        shown = repr(sent) if len(sent) < 5000 else f"{sent[:2500]!r} … {sent[-2500:]!r} ({len(sent)} bytes)"
        return Finding(fault, f"make fuzz ARGS='--seed {self._seed} --case {number}', which sends at least {shown}")
