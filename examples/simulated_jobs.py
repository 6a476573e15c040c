"""A job queue in the simulation: a job is lost when its worker dies, and the kit shows how.

Run it with `python examples/simulated_jobs.py`. Workers take jobs and tell of results; supervisors
restart workers that die. `ForgetfulQueue` forgets a job when it gives it away; `LeasingQueue` keeps
it until there is a result, and gives it to another worker if the first one dies.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from palaver.actors.runtime import Down, GenServer, Pid, Ref
from palaver.actors.simulation import Faults, Host, World
from palaver.actors.simulation.driving import check
from palaver.actors.simulation.reporting import SimulationFailed
from palaver.supervisors import ChildSpec, Supervisor

JOBS, WORKERS = 12, 3


@dataclass(frozen=True)
class Take:
    """A worker asks for a job."""

    worker: Pid


@dataclass(frozen=True)
class Finished:
    """A worker has done a job."""

    job: int
    result: int


class ForgetfulQueue(GenServer):
    """Gives jobs away, and believes that each will be done."""

    def init(self) -> None:
        self.waiting: deque[int] = deque()
        self.results: dict[int, int] = {}

    def handle_call(self, request: Take, from_: object) -> int | None:
        return self.waiting.popleft() if self.waiting else None

    def handle_cast(self, message: int | Finished) -> None:
        if isinstance(message, int):
            self.waiting.append(message)
        else:
            assert message.job not in self.results, f"job {message.job} was done twice"
            self.results[message.job] = message.result


class LeasingQueue(ForgetfulQueue):
    """Watches who has a job, and takes it back from the dead."""

    def init(self) -> None:
        super().init()
        self.leases: dict[Ref, int] = {}

    def handle_call(self, request: Take, from_: object) -> int | None:
        job = super().handle_call(request, from_)
        if job is not None:
            self.leases[self.monitor(request.worker)] = job
        return job

    def handle_info(self, message: Down) -> None:
        job = self.leases.pop(message.ref)
        if job not in self.results:
            self.waiting.appendleft(job)


class Worker(GenServer):
    """Does one job after the other."""

    def init(self) -> None:
        self.cast(self.pid, "work")

    async def handle_cast(self, message: object) -> None:
        job = await self.call("jobs", Take(self.pid))
        if job is None:
            await self.sleep(0.5)
        else:
            await self.sleep(self.random.uniform(0.1, 0.4))
            self.cast("jobs", Finished(job, job * job))
        self.cast(self.pid, message)


async def work_through(world: World, queue: type[ForgetfulQueue]) -> None:
    """Jobs are done while actors are killed; the queue itself is spared, it keeps no log."""

    async def boot(host: Host) -> None:
        node = await host.node()
        workers = [ChildSpec(f"worker {n}", Worker) for n in range(WORKERS)]
        await node.start_server(queue, name="jobs")
        await node.start_server(Supervisor, workers, intensity=1000, name="root")

    host = world.host("office", boot)
    await host.start()
    [node] = host.nodes
    jobs = node.whereis("jobs")
    server = jobs.process_.context
    world.nemesis(Faults(kill=0.2, spare=("root", "jobs")))
    for job in range(JOBS):
        node.cast("jobs", job)
    await world.sleep(2.0)
    await world.calm()
    await world.eventually(lambda: len(server.results) == JOBS, "all jobs are done", within_s=10.0)


async def forgetful(world: World) -> None:
    await work_through(world, ForgetfulQueue)


async def leasing(world: World) -> None:
    await work_through(world, LeasingQueue)


def main() -> None:
    campaign = check(leasing, range(60))
    print(f"with leases: {campaign.statistics.runs} runs, all jobs done in each")
    try:
        check(forgetful)
    except SimulationFailed as failed:
        print(f"without: found by seed {failed.report.seed}")
        print(failed)


if __name__ == "__main__":
    main()
