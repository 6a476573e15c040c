"""The system base: what stands behind Thespian's `ActorSystem`, for programs without asyncio."""

from __future__ import annotations

import atexit
import logging.config
import sys
import threading
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, cast

from thespian.actors import (
    ActorAddress,
    ActorSystemFailure,
    ActorSystemRequestTimeout,
)
from thespian.system.timing import timePeriodSeconds

from palaver.actors.embedding import NodeThread
from palaver.actors.runtime import Node, NodeStopped
from palaver.actors.thespian.address import Address
from palaver.actors.thespian.convention import LocalNetwork
from palaver.actors.thespian.outside import Outside
from palaver.actors.thespian.sources import read_source
from palaver.actors.thespian.system import BLOCKING_S, ThespianSystem

__all__ = ["NAME", "SystemBase", "use"]

NAME: Final = "palaverBase"
"""The name of this base, as `ActorSystem` takes it after `use()`."""

THREADS: Final = 32
"""Threads for actors that block."""

STOP_S: Final = 5.0
"""How long the node's processes may take to stop when the actors have; then they are killed."""

SHUTDOWN_S: Final = 30.0
"""How long `shutdown` waits for all of it; only an actor that blocks the node takes so long."""

MAX_BACKLOG: Final = 10_000
"""How many messages of the program the node may be behind, before `tell` waits for it."""


class Context:
    """What the main program and each `private()` context can do: an endpoint of the system.

    The methods have the names by which `ActorSystem` calls them.
    """

    _outside_address: Address

    def open(self) -> tuple[NodeThread, ThespianSystem]:
        """The running node and system."""
        raise AttributeError("open")

    @property
    def _outside(self) -> Outside:
        return cast("Outside", self._outside_address.addressDetails)

    def newPrimaryActor(  # noqa: N802
        self,
        actorClass: Any,  # noqa: N803
        targetActorRequirements: Any,  # noqa: N803
        globalName: str | None,  # noqa: N803
        sourceHash: str | None = None,  # noqa: N803
    ) -> Address:
        """Create an actor; raises as `ThespianSystem.create_actor`."""
        thread, system = self.open()
        found: Address = wait_for(
            thread,
            lambda: system.create_actor(
                actorClass,
                targetActorRequirements,
                global_name=globalName,
                source_hash=sourceHash,
            ),
        )
        return found

    def tell(self, anActor: ActorAddress, msg: Any) -> None:  # noqa: N803
        """Send a message. If the node is far behind, wait until it is not."""
        thread, system = self.open()
        if not system.post(anActor, msg, self._outside_address):
            return  # it has shut itself down: a dead letter, and nobody to give it to
        if len(system.inbox) > MAX_BACKLOG and not thread.is_inside:
            wait_for(thread, nothing)

    def listen(self, timeout: Any) -> Any:
        """The next message for this endpoint; None after `timeout` seconds or a `timedelta`."""
        return self._outside.listen(None if timeout is None else timePeriodSeconds(timeout))

    def ask(self, anActor: ActorAddress, msg: Any, timeout: Any) -> Any:  # noqa: N803
        """Send a message and listen: whatever comes next is the answer, as in Thespian."""
        self.tell(anActor, msg)
        return self.listen(timeout)

    def updateCapability(self, capabilityName: str, capabilityValue: Any = None) -> None:  # noqa: N802, N803
        """Set or remove a capability; done when this returns."""
        thread, system = self.open()
        call_in(thread, system.update_capability, capabilityName, capabilityValue)

    def loadActorSource(self, fname: Any) -> str:  # noqa: N802
        """Offer a source to the source authority; its hash. Raises `OSError`."""
        thread, system = self.open()
        source_hash, data = read_source(fname)
        call_in(thread, system.sources.offer, source_hash, data)
        return source_hash

    def unloadActorSource(self, sourceHash: str) -> None:  # noqa: N802, N803
        """Forget a source; done when this returns."""
        thread, system = self.open()
        call_in(thread, system.unload_source, sourceHash)


class SystemBase(Context):
    """A Thespian system base that runs its actors as light processes in one thread.

        ActorSystem(SystemBase(capabilities={...}), transientUnique=True)

    or, by name, after `use()`: `ActorSystem("palaverBase", {...})`. The thread begins with the
    first use (by name: at once) and ends with `shutdown`, or when an actor shuts the system down.

    Args:
        system: The `ActorSystem` that this is the base of; its capabilities are taken.
        logDefs: A configuration for `logging.config.dictConfig`. Without one nothing is configured.
        capabilities: See `ThespianSystem`, as `network` and `blocking_s`.
        make_node: Makes the node; by default one with threads for 32 blocking actors.
    """

    network: ClassVar[LocalNetwork | None] = None

    def __init__(
        self,
        system: Any = None,
        logDefs: Mapping[str, Any] | bool | None = None,  # noqa: N803
        *,
        capabilities: Mapping[str, Any] | None = None,
        network: LocalNetwork | None = None,
        blocking_s: float | None = BLOCKING_S,
        make_node: Callable[[], Node] | None = None,
    ) -> None:
        if isinstance(logDefs, Mapping):
            logging.config.dictConfig(dict(logDefs))
        self._capabilities = dict(capabilities or {})
        if system is not None:
            self._capabilities.update(system.capabilities)
        self._network = network or type(self).network
        self._blocking_s = blocking_s
        self._make_node = make_node or (lambda: Node(max_threads=THREADS))
        self._lock = threading.Lock()
        self._running: tuple[NodeThread, ThespianSystem] | None = None
        self._privates = 0
        if system is not None:
            # Thespian's is no address; with this one, the system can be asked for its status.
            system.systemAddress = self.actors.address

    def open(self) -> tuple[NodeThread, ThespianSystem]:
        """The running node and system, started now if they were not."""
        with self._lock:
            if self._running is None:
                self._running = self._start()
            return self._running

    @property
    def actors(self) -> ThespianSystem:
        """The system itself; its methods are for the node's thread."""
        return self.open()[1]

    def _start(self) -> tuple[NodeThread, ThespianSystem]:
        thread = NodeThread(self._make_node()).start()

        async def begin() -> ThespianSystem:
            system = await ThespianSystem.start(
                thread.node,
                capabilities=self._capabilities,
                network=self._network,
                blocking_s=self._blocking_s,
            )
            thread.node.spawn(watch, system, thread)
            return system

        try:
            system = thread.run(begin())
        except BaseException:
            thread.stop(timeout_s=2 * STOP_S)
            raise
        self._outside_address = system.open_outside("main")
        atexit.register(self.shutdown)  # what the program has said is heard, though it forgot this
        return thread, system

    def external_clone(self) -> PrivateContext:
        """An endpoint of its own, for another thread of the program."""
        thread, system = self.open()
        with self._lock:
            self._privates += 1
            name = f"private-{self._privates}"
        address = call_in(thread, system.open_outside, name)
        return PrivateContext(self, address)

    def shutdown(self) -> None:
        """Let every actor exit, and end the node and its thread.

        It happens at the end of the program if not before. Raises `ActorSystemRequestTimeout` if an
        actor blocks the node for longer than that takes.
        """
        with self._lock:
            running = self._running
        if running is None:
            return
        atexit.unregister(self.shutdown)
        thread, system = running
        if thread.is_inside:
            raise ActorSystemFailure("an actor uses actorSystemShutdown, not ActorSystem.shutdown")
        if thread.is_running:
            system.run_soon(system.request_stop)
        if not thread.join(SHUTDOWN_S):
            raise ActorSystemRequestTimeout("an actor blocks the node: it does not shut down")
        thread.stop()  # it has ended: nothing is to be done at the interpreter's exit


class PrivateContext(Context):
    """An endpoint of a base, with its own messages; any one thread may use it."""

    def __init__(self, base: SystemBase, address: Address) -> None:
        self._base = base
        self._outside_address = address

    def open(self) -> tuple[NodeThread, ThespianSystem]:
        """The running node and system of the base."""
        return self._base.open()

    def exit_context(self) -> None:
        """The endpoint is no longer there; messages to it are dropped."""
        _, system = self.open()
        system.run_soon(system.close_outside, self._outside)


def use(name: str = NAME) -> type[SystemBase]:
    """Make this base known to Thespian's `ActorSystem` by name; the class that is used.

    `ActorSystem` looks for a base in the module `thespian.system.<name>`: this puts one there, and
    changes nothing of Thespian's. It is the program that calls it, once, not an import. The systems
    made by one name can be in a convention with each other. Raises `ValueError` if there is another
    base with this name.
    """
    path = f"thespian.system.{name}"
    known = sys.modules.get(path)
    if known is not None:
        found = getattr(known, "ActorSystemBase", None)
        if isinstance(found, type) and issubclass(found, SystemBase):
            return found
        raise ValueError(f"{path} is there already, and is not this base")
    base = type("ActorSystemBase", (SystemBase,), {"network": LocalNetwork()})
    module = types.ModuleType(path, "Thespian's API on Palaver's runtime.")
    module.ActorSystemBase = base  # type: ignore[attr-defined] # what Thespian looks for
    sys.modules[path] = module
    return base


async def watch(ctx: Any, system: ThespianSystem, thread: NodeThread) -> None:
    """A process that ends the node when the system has ended, whatever ended it."""
    ctx.monitor(system.pid)
    await ctx.receive()
    system.end()  # again, should its process have been killed
    thread.request_stop(timeout_s=STOP_S)


async def nothing() -> None:
    """Come back from the node's loop."""


def wait_for(thread: NodeThread, make: Callable[[], Any]) -> Any:
    """Run a coroutine in the node; raises `ActorSystemFailure` if that has stopped."""
    try:
        return thread.run(make())
    except NodeStopped as error:
        raise ActorSystemFailure("the actor system has been shut down") from error


def call_in(thread: NodeThread, call: Callable[..., Any], *args: Any) -> Any:
    """Call something in the node's thread and wait for it."""

    async def run() -> Any:
        return call(*args)

    return wait_for(thread, run)
