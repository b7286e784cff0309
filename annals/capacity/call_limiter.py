"""How many synchronous calls one API process waits for: what is beyond is refused before anything is recorded.

The executor bounds what runs; this bounds who waits, so that a crowd is told to come back instead of timing out.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from annals.capacity.counting import decrement
from annals.domain.errors import Busy, RateLimited

RETRY_SECONDS = 1


class Admission:
    """`most` calls at once, `most_of_project` of each project; `queue` may wait for a function with a bound."""

    def __init__(self, *, most: int, most_of_project: int, queue: int) -> None:
        self._most, self._most_of_project, self._queue = most, most_of_project, queue
        self._all = 0
        self._held: Counter[tuple[str, str]] = Counter()

    @property
    def waiting(self) -> int:
        """Calls in hand."""
        return self._all

    @contextmanager
    def admitted(self, project_id: str, function_id: str, concurrency: int) -> Iterator[None]:
        """Hold a place while a call is waited for. Raises Busy for the process, RateLimited for project or function."""
        project, function = (project_id, ""), (project_id, function_id)
        if self._all >= self._most:
            raise Busy
        if self._held[project] >= self._most_of_project:
            raise RateLimited(
                f"{self._most_of_project} synchronous executions of the project are waited for. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        if concurrency and self._held[function] >= concurrency + self._queue:
            raise RateLimited(
                f"The function runs {concurrency} calls at once, and {self._queue} wait for it. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        self._all += 1
        self._held.update((project, function))
        try:
            yield
        finally:
            self._all -= 1
            for key in (project, function):
                decrement(self._held, key)
