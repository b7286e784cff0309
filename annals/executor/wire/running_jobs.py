"""The jobs that run now. A job with a higher epoch replaces one of the same name; `cancel` finds jobs by name."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Name = tuple[str, str]


class Superseded(Exception):
    """The request's epoch is not higher than that of the running job."""


class Canceled(Exception):
    """The job was cancelled on request, or by a job with a higher epoch."""


class _Job(Generic[T]):
    def __init__(self, epoch: int, task: "asyncio.Task[T]") -> None:
        self.epoch = epoch
        self.task = task
        self.canceled = False


class RunningJobs(Generic[T]):
    """Jobs by project and id. One job of each name runs at a time."""

    def __init__(self) -> None:
        self._jobs: dict[Name, _Job[T]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    async def run(self, name: Name, epoch: int, work: Coroutine[Any, Any, T]) -> T:
        """Run work under a name. Raises Superseded or Canceled. Cancelling the caller cancels the work first."""
        other = self._jobs.get(name)
        if other is not None:
            if other.epoch >= epoch:
                work.close()
                raise Superseded
            await self.cancel(name)
        job = self._jobs[name] = _Job(epoch, asyncio.create_task(work))
        try:
            return await job.task
        except asyncio.CancelledError:
            if not job.task.done():
                job.task.cancel()
                await asyncio.wait((job.task,))
            if job.canceled:
                raise Canceled from None
            raise
        finally:
            if self._jobs.get(name) is job:
                del self._jobs[name]

    async def cancel(self, name: Name) -> bool:
        """Cancel the job of a name and wait for its end; return True if there was one."""
        job = self._jobs.get(name)
        if job is None:
            return False
        job.canceled = True
        job.task.cancel()
        await asyncio.wait((job.task,))
        return True
