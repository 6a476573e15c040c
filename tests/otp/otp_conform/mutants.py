"""Palaver with a fault planted, as a program would see it: the comparison must catch each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

from otp_conform import processes
from otp_conform.actor import Actor
from otp_conform.language import Desc
from otp_conform.processes import Server, Tree
from otp_conform.world import World, reason_of
from palaver.actors.runtime import KILLED, Pid
from palaver.supervisors import ChildSpec

__all__ = ["MUTANTS"]


def mutant(**replaced: Any) -> Callable[[], SimpleNamespace]:
    """The module `processes` with something replaced."""
    return lambda: SimpleNamespace(**{**vars(processes), **replaced})


class LinksForEver(Actor):
    """`unlink` does nothing."""

    def to_unlink(self, pid: Pid, label: str) -> None:
        pass


class NeverFlushes(Actor):
    """`demonitor` with `flush` does not look into the mailbox."""

    def do_demonitor_flush(self, monitor: str) -> None:
        self.do_demonitor(monitor)


class SurvivesKill(Actor):
    """`kill` can be trapped."""

    async def to_exit(self, pid: Pid, label: str, reason: Any) -> None:
        if reason == "kill":
            self.ctx.exit(pid, KILLED)
        else:
            await super().to_exit(pid, label, reason)


class LinksOnlyTheLiving(Actor):
    """Linking a dead pid gives no `noproc`."""

    async def to_link(self, pid: Pid, label: str) -> None:
        if self.ctx.node.is_alive(pid):
            await super().to_link(pid, label)


class SkipsTerminate(Server):
    """`terminate` does not run when the parent ends the server."""

    def terminate(self, reason: Any) -> None:
        if reason is not reason_of("shutdown"):
            super().terminate(reason)


class OneForOne(Tree):
    """Every strategy is `one_for_one`."""

    def specification(self, world: World, label: str, desc: Desc) -> Any:
        flags, specs = super().specification(world, label, desc)
        return replace(flags, strategy="one_for_one"), specs


class OneMore(Tree):
    """A supervisor gives up one restart too late."""

    def specification(self, world: World, label: str, desc: Desc) -> Any:
        flags, specs = super().specification(world, label, desc)
        return replace(flags, intensity=flags.intensity + 1), specs


def restarts_always(world: World, spec: Any) -> ChildSpec:
    """A transient child is restarted after any exit."""
    made = processes.child_spec(world, spec)
    always = made.restart == "transient" and not made.significant
    return replace(made, restart="permanent") if always else made


MUTANTS: Final = {
    "links_for_ever": mutant(Actor=LinksForEver),
    "never_flushes": mutant(Actor=NeverFlushes),
    "survives_kill": mutant(Actor=SurvivesKill),
    "links_only_the_living": mutant(Actor=LinksOnlyTheLiving),
    "skips_terminate": mutant(Server=SkipsTerminate),
    "one_for_one": mutant(Tree=OneForOne),
    "one_more": mutant(Tree=OneMore),
    "restarts_always": mutant(child_spec=restarts_always),
}
"""What makes each, by name; in the place of the module `processes`."""
