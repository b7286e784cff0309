"""How long to wait before a process that died is started again."""

FIRST, MOST = 0.1, 10.0
STEADY_SECONDS = 20.0
"""A process that ran so long has earned a quick restart again."""


class Backoff:
    """Doubles from 0.1 s to 10 s while a process keeps dying soon after its start."""

    def __init__(self) -> None:
        self._next = FIRST
        self.restarts = 0
        self.soon = 0
        """Deaths in a row that came before the process had run steadily."""

    def after(self, ran_seconds: float) -> float:
        """Seconds to wait after a process that ran for so long."""
        self.restarts += 1
        if ran_seconds >= STEADY_SECONDS:
            self._next, self.soon = FIRST, 0
        self.soon += 1
        wait, self._next = self._next, min(self._next * 2, MOST)
        return wait
