"""Several processes that run seeds: lines of JSON to them and from them, and nothing else.

Each is a fresh Python that imports the scenario by its name: no state of this process is copied
and nothing is pickled.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import IO, Any, Final, Self

from palaver.actors.simulation.driving.runner import Runner

__all__ = ["WorkerDied", "Workers"]

CHUNK: Final = 8
"""Seeds that a worker is given at once."""


class WorkerDied(RuntimeError):
    """A process that ran seeds has ended by itself; what it said is on stderr."""


class Workers:
    """Processes that run one scenario, each with its own seeds.

    Args:
        jobs: How many.
        runner: What they run; its name can be imported.
        swarm: See `Seeded`.
        rates: See `Seeded`.
    """

    def __init__(
        self,
        jobs: int,
        runner: Runner,
        *,
        swarm: bool = True,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        if jobs < 1:
            raise ValueError("it takes at least one process")
        self._jobs = jobs
        self._task = {
            "path": sys.path,
            "scenario": runner.name,
            "options": dict(runner.options),
            "swarm": swarm,
            "rates": rates and dict(rates),
        }
        self._processes: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []
        self._results: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        for number in range(self._jobs):
            process = subprocess.Popen(
                [sys.executable, "-m", "palaver.actors.simulation.driving.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            self._processes.append(process)
            assert process.stdout is not None
            reader = threading.Thread(target=self._read, args=(number, process.stdout), daemon=True)
            self._readers.append(reader)
            reader.start()
            self._tell(number, self._task)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()  # it holds nothing: what it found has been read or is not wanted
        for process, reader in zip(self._processes, self._readers, strict=True):
            process.wait()
            reader.join()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    _close(pipe)

    def run(self, seeds: Iterable[int]) -> Iterator[dict[str, Any]]:
        """What came of each seed, in the order in which they end; raises `WorkerDied`."""
        left = iter(seeds)
        waiting: dict[int, int] = {}  # results that each worker owes
        for number in range(self._jobs):
            self._give(number, left, waiting)
        while waiting:
            number, result = self._results.get()
            if result is None:
                code = self._processes[number].wait()
                raise WorkerDied(
                    f"the process that ran seeds of {self._task['scenario']} ended with "
                    f"{code}: run it with jobs=1 to see why"
                )
            waiting[number] -= 1
            if not waiting[number]:
                del waiting[number]
                self._give(number, left, waiting)
            yield result

    def _give(self, number: int, left: Iterator[int], waiting: dict[int, int]) -> None:
        chunk = list(islice(left, CHUNK))
        if chunk:
            waiting[number] = len(chunk)
            self._tell(number, chunk)

    def _tell(self, number: int, what: Any) -> None:
        pipe = self._processes[number].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(what) + "\n")
            pipe.flush()
        except BrokenPipeError:
            return  # its reader tells that it is gone

    def _read(self, number: int, pipe: IO[str]) -> None:
        for line in pipe:
            self._results.put((number, json.loads(line)))
        self._results.put((number, None))


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # what was not written will not be read
