"""Thespian's API on this runtime: existing Thespian actors run as light processes.

    from thespian.actors import ActorSystem
    from palaver.actors.thespian import use

    use()
    ActorSystem("palaverBase")

or, in a program with asyncio, `ThespianSystem.start(node)`. See `docs/from-thespian.md`.
"""

from palaver.actors.thespian.actor import ActorProcess
from palaver.actors.thespian.address import ActorMessage, Address, pid_of
from palaver.actors.thespian.base import SystemBase, use
from palaver.actors.thespian.convention import LocalNetwork
from palaver.actors.thespian.system import ThespianSystem
from palaver.actors.thespian.system_process import SystemProcess

__all__ = [
    "ActorMessage",
    "ActorProcess",
    "Address",
    "LocalNetwork",
    "SystemBase",
    "SystemProcess",
    "ThespianSystem",
    "pid_of",
    "use",
]
