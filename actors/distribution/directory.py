"""What a node calls the things of other nodes, and what others call its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from palaver.actors.distribution.addresses import (
    RemoteAlias,
    RemoteCall,
    RemoteName,
    RemotePid,
    RemoteRef,
)
from palaver.actors.distribution.crossing import CannotCross
from palaver.actors.distribution.signals import Where
from palaver.actors.distribution.told import MAX_TOLD, ToldPids
from palaver.actors.runtime import Alias, From, Pid, Ref

if TYPE_CHECKING:
    from palaver.actors.distribution.distribution import Distribution

__all__ = ["Directory"]

# So many own references are remembered after they were told to others. Beyond, those that mean
# nothing any more are forgotten, then the oldest ones. If a forgotten one comes back, it is another
# object. So it is with pids of processes that have exited.


class Directory:
    """Both ways: `where` gives what crosses, `found` what that means here."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution
        # Own ones that others know of.
        self._pids = ToldPids(MAX_TOLD)
        self._refs: dict[int, Ref] = {}
        self._numbers: dict[Ref, int] = {}
        self._last_number = 0
        # Others' that we know of: one object each, as long as somebody has it.
        self._remotes: WeakValueDictionary[Where, Any] = WeakValueDictionary()

    # -- out -----------------------------------------------------------------------------------

    def where(self, thing: Any) -> Where:
        """What an address or a reference is called between nodes; raises `CannotCross`."""
        if isinstance(thing, Where):
            return thing
        if isinstance(thing, (RemotePid, RemoteName, RemoteAlias, RemoteRef, RemoteCall)):
            return thing.where
        if isinstance(thing, Pid):
            return self._where_pid(thing)
        if isinstance(thing, Alias):
            return self._own("alias", self.number(thing))
        if isinstance(thing, From):
            return self._own("call", self.number(thing))
        if isinstance(thing, Ref):
            return self._own("ref", self.number(thing))
        raise CannotCross(
            f"{thing!r} means something only on node {self._distribution.name}: send the pid"
        )

    def _own(self, kind: Any, key: int) -> Where:
        return Where(kind, self._distribution.name, self._distribution.creation, key)

    def _where_pid(self, pid: Pid) -> Where:
        node = self._distribution.node
        process = pid.process_
        if process is not None and process.scheduler.node is not node:
            raise CannotCross(
                f"{pid} is a process of another node, and came here without the fabric: "
                "give others its address by Fabric.remote"
            )
        if pid.node_name != node.name:
            raise CannotCross(f"{pid} was a process of another node, and no address of it")
        serial = pid.serial
        if self._pids.get(serial) is not pid:
            if process is None and any(each.serial == serial for each in node.table):
                return Where("pid", node.name, 0, serial)  # of an earlier life: nobody
            self._pids.add(pid)
        return self._own("pid", serial)

    def told(self, ref: Ref) -> int | None:
        """The number of an own reference, if others know of it."""
        return self._numbers.get(ref)

    def number(self, ref: Ref) -> int:
        """The number by which others know an own reference."""
        number = self._numbers.get(ref)
        if number is None:
            if len(self._refs) >= MAX_TOLD:
                self._forget_some()
            self._last_number = number = self._last_number + 1
            self._refs[number] = ref
            self._numbers[ref] = number
        return number

    def _forget_some(self) -> None:
        over = [n for n, ref in self._refs.items() if isinstance(ref, From) and not ref.open]
        over += [n for n, ref in self._refs.items() if isinstance(ref, Alias) and not ref.active]
        for number in over or list(self._refs)[: MAX_TOLD // 2]:
            self.forget(number)

    def forget(self, number: int) -> None:
        """An own reference means nothing any more."""
        ref = self._refs.pop(number, None)
        if ref is not None:
            del self._numbers[ref]

    # -- in ------------------------------------------------------------------------------------

    def own_ref(self, number: int) -> Ref | None:
        """The own reference of a number; None if it is forgotten."""
        return self._refs.get(number)

    def own_pid(self, serial: int) -> Pid:
        """The own pid of a serial number, of this incarnation; its process may have exited."""
        pid = self._pids.get(serial)
        if pid is None:
            node = self._distribution.node
            for each in node.table:
                if each.serial == serial:
                    pid = each
                    break
            else:
                pid = Pid(node.name, serial)
            self._pids.add(pid)
        return pid

    def found(self, where: Any) -> Any:
        """What an address or a reference means here: the own thing, or what stands for it."""
        if not isinstance(where, Where):
            raise TypeError(f"{where!r} has not come from another node")
        here = self._distribution
        if where.kind == "name":
            if where.node_name == here.name:
                return where.key
            return RemoteName(here, where.node_name, cast("str", where.key))
        if where.node_name == here.name and where.creation == here.creation:
            if where.kind == "pid":
                return self.own_pid(cast("int", where.key))
            own = self._refs.get(cast("int", where.key))
            if own is not None:
                return own
        return self._remote(where)

    def _remote(self, where: Where) -> Any:
        remote = self._remotes.get(where)
        if remote is None:
            here = self._distribution
            if where.kind == "pid":
                remote = RemotePid(here, where)
            elif where.kind == "alias":
                remote = RemoteAlias(here, where)
            elif where.kind == "call":
                remote = RemoteCall(here, where, here.peer(where.node_name, where.creation))
            else:
                remote = RemoteRef(where)
            self._remotes[where] = remote
        return remote

    def known(self, where: Where) -> Any:
        """What stands for it here, if anybody has it; else None."""
        return self._remotes.get(where)
