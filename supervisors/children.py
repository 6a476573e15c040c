"""The children of a `Supervisor`: its table, which is plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from palaver.actors.runtime import Pid
from palaver.supervisors.failures import ChildNotFound, ChildRestarting, ChildRunning
from palaver.supervisors.requests import ChildInfo
from palaver.supervisors.spec import ChildSpec

__all__ = ["Child", "Children"]


class Child:
    """A child of a supervisor: its specification, and its process while there is one."""

    __slots__ = ("pid", "restarting", "spec")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.pid: Pid | None = None
        # Whether it is to be started again, because its restart has failed.
        self.restarting = False

    @property
    def active(self) -> bool:
        """Whether it runs or is about to."""
        return self.pid is not None or self.restarting

    def info(self) -> ChildInfo:
        """What `WhichChildren` shows."""
        return ChildInfo(self.spec.id, self.pid, self.spec.kind, self.restarting)


class Children:
    """The children by id, in start order, and by pid; every change costs the same at any size."""

    __slots__ = ("_by_id", "_by_pid", "significant")

    def __init__(self, specs: Iterable[ChildSpec]) -> None:
        self._by_id: dict[object, Child] = {spec.id: Child(spec) for spec in specs}
        self._by_pid: dict[Pid | None, Child] = {}
        # How many that run, or are about to, are significant.
        self.significant = 0

    def __iter__(self) -> Iterator[Child]:
        """In start order; a copy, since children come and go while the supervisor waits."""
        return iter(list(self._by_id.values()))

    def get(self, child_id: object) -> Child | None:
        """The child with this id; None if there is none."""
        return self._by_id.get(child_id)

    def id_of(self, pid: Pid) -> object | None:
        """The id of the child that runs as `pid`; None if none does."""
        child = self._by_pid.get(pid)
        return None if child is None else child.spec.id

    def find(self, child_id: object) -> Child:
        """The child with this id; raises `ChildNotFound`."""
        child = self._by_id.get(child_id)
        if child is None:
            raise ChildNotFound(child_id)
        return child

    def find_stopped(self, child_id: object) -> Child:
        """The same, where it must not run: raises `ChildRunning` or `ChildRestarting` too."""
        child = self.find(child_id)
        if child.pid is not None:
            raise ChildRunning(child_id)
        if child.restarting:
            raise ChildRestarting(child_id)
        return child

    def has(self, child: Child) -> bool:
        """Whether this very child is still there."""
        return self._by_id.get(child.spec.id) is child

    def add(self, spec: ChildSpec) -> Child:
        """Add a child, as the last one; its id is free."""
        child = self._by_id[spec.id] = Child(spec)
        return child

    def remove(self, child: Child) -> None:
        """Forget a child that does not run."""
        del self._by_id[child.spec.id]

    def since(self, child: Child) -> list[Child]:
        """This child and those started after it, in start order; costs what it gives."""
        found = []
        for each in reversed(self._by_id.values()):
            found.append(each)
            if each is child:
                break
        found.reverse()
        return found

    def started(self, child: Child, pid: Pid) -> None:
        """It runs as `pid`."""
        if child.spec.significant and not child.active:
            self.significant += 1
        child.restarting = False
        child.pid = pid
        self._by_pid[pid] = child

    def exited(self, pid: Pid | None) -> Child | None:
        """The child that ran as `pid` and does no longer; None if none did."""
        child = self._by_pid.pop(pid, None)
        if child is not None:
            child.pid = None
            if child.spec.significant:
                self.significant -= 1
        return child

    def failed(self, child: Child) -> None:
        """It does not run, and is to be started again."""
        if child.spec.significant and not child.active:
            self.significant += 1
        child.restarting = True

    def stopped(self, child: Child) -> Pid | None:
        """It is to run no more; the pid of the process to stop, if there is one."""
        if child.spec.significant and child.active:
            self.significant -= 1
        pid, child.pid = child.pid, None
        child.restarting = False
        if pid is not None:
            del self._by_pid[pid]
        return pid

    def replace(self, specs: Iterable[ChildSpec]) -> None:
        """Give them new specifications, as OTP's supervisor does in `code_change`.

        In the new order; those without a new specification are kept as they are, at the end.
        """
        old, self._by_id = self._by_id, {}
        for spec in specs:
            child = old.pop(spec.id) if spec.id in old else Child(spec)
            child.spec = spec
            self._by_id[spec.id] = child
        self._by_id.update(old)
        self.significant = sum(
            child.spec.significant and child.active for child in self._by_id.values()
        )
