"""A job queue with back-pressure: a few workers, a short backlog, and jobs that fail now and then.

Run it with `python examples/job_queue.py`. Whoever submits a job waits while the backlog is full.
Each job runs in a task of its own under a supervisor: one that crashes harms nobody, and is tried
again, three times at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from palaver.actors.behaviours import Done, Task
from palaver.actors.behaviours.stages import Consumer, Producer, Subscription
from palaver.actors.runtime import NOREPLY, From, Node, NoReply, NullObserver, ProcessContext
from palaver.supervisors import ChildSpec, Supervisor, TaskSupervisor

JOBS, WORKERS, BACKLOG, ATTEMPTS = 60, 4, 8, 3


@dataclass
class Job:
    number: int
    attempts: int = 0


@dataclass
class Finished:
    job: Job
    result: object  # None: it has failed


@dataclass
class Summary:
    done: int = 0
    retried: int = 0
    given_up: int = 0
    longest_backlog: int = 0
    submitters_that_waited: int = 0


class JobQueue(Producer[Job]):
    """Gives jobs to whoever asks; takes no more than it can hold."""

    def init(self) -> None:
        self.backlog: deque[Job] = deque()
        self.again: deque[Job] = deque()  # to be tried again; no more than there are workers
        self.submitters: deque[tuple[Job, From]] = deque()  # who waits for room
        self.owed = 0  # what the workers have asked for
        self.summary = Summary()

    def handle_call(self, request: Job | str, from_: From) -> NoReply | Summary:
        if isinstance(request, str):
            return self.summary
        if len(self.backlog) >= BACKLOG:
            self.summary.submitters_that_waited += 1
        self.submitters.append((request, from_))
        self.emit(self.next_jobs())
        return NOREPLY

    def handle_demand(self, demand: int) -> list[Job]:
        self.owed += demand
        return self.next_jobs()

    def handle_cast(self, finished: Finished) -> None:
        job = finished.job
        if finished.result is not None:
            self.summary.done += 1
        elif job.attempts < ATTEMPTS:
            self.summary.retried += 1
            self.again.append(job)
            self.emit(self.next_jobs())
        else:
            self.summary.given_up += 1

    def next_jobs(self) -> list[Job]:
        """As many jobs as were asked for; in their places come those of waiting submitters."""
        jobs: list[Job] = []
        self.admit()
        while self.owed and (self.again or self.backlog):
            self.owed -= 1
            jobs.append(self.again.popleft() if self.again else self.backlog.popleft())
            self.admit()
        return jobs

    def admit(self) -> None:
        while self.submitters and len(self.backlog) < BACKLOG:
            job, from_ = self.submitters.popleft()
            self.backlog.append(job)
            self.reply(from_, "accepted")
        self.summary.longest_backlog = max(self.summary.longest_backlog, len(self.backlog))


class Worker(Consumer[Job]):
    """Takes one job at a time."""

    def init(self) -> None:
        self.subscribe("jobs", max_demand=1)

    async def handle_events(self, jobs: list[Job], subscription: Subscription) -> None:
        for job in jobs:
            job.attempts += 1
            task: Task[int] = await TaskSupervisor.async_nolink(self, "tasks", work, job)
            result = await task.yield_(self, timeout_s=0.5)
            if result is None:
                await task.shutdown(self)
            value = result.value if isinstance(result, Done) else None
            self.cast("jobs", Finished(job, value))


async def work(ctx: ProcessContext, job: Job) -> int:
    await ctx.sleep(0.002)
    if job.number == 13:
        raise ValueError("this one never works")
    if job.number % 10 == 0 and job.attempts == 1:
        raise ConnectionError("try again")
    return job.number**2


async def main() -> None:
    workers = [ChildSpec(("worker", n), Worker) for n in range(WORKERS)]
    tree = [
        ChildSpec("tasks", TaskSupervisor, kind="supervisor", name="tasks"),
        ChildSpec("jobs", JobQueue, name="jobs"),
        *workers,
    ]
    # The observer would log the crashes, which are meant here.
    async with Node("jobs@local", observer=NullObserver()) as node:
        await node.start_server(Supervisor, tree, strategy="rest_for_one")
        submitted = [node.call("jobs", Job(n), timeout_s=None) for n in range(JOBS)]
        await asyncio.gather(*submitted)
        summary: Summary = await node.call("jobs", "summary")
        while summary.done + summary.given_up < JOBS:
            await asyncio.sleep(0.005)
            summary = await node.call("jobs", "summary")
        print(f"done: {summary.done}, given up: {summary.given_up}, retried: {summary.retried}")
        print(f"longest backlog: {summary.longest_backlog} of at most {BACKLOG}")
        print(f"submitters that waited: {summary.submitters_that_waited > 0}")


if __name__ == "__main__":
    asyncio.run(main())
