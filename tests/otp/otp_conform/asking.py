"""What a process of a program asks of supervisors, and how it shows the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from otp_conform.language import Desc
from otp_conform.world import World
from palaver.actors.runtime import CallFailed, NameTaken, Pid, ProcessContext, StartError
from palaver.supervisors import (
    AlreadyPresent,
    ChildInfo,
    ChildNotFound,
    ChildRunning,
    CountChildren,
    DeleteChild,
    RestartChild,
    StartChild,
    StartFromTemplate,
    TerminateChild,
    WhichChildren,
)

__all__ = ["Asking"]


class Asking:
    """The instructions that are requests to supervisors."""

    ctx: ProcessContext
    world: World

    def log(self, *event: Any) -> None:
        """Remember an event of this process."""
        raise AttributeError("log")

    def reason(self, reason: Any) -> Any:
        return self.world.reason(reason)

    async def ask(self, what: str, pid: Pid, request: Any, show: Callable[[Any], Any]) -> None:
        try:
            result = show(await self.ctx.call(pid, request, timeout_s=None))
        except AlreadyPresent as error:
            child = error.pid
            present = child is None
            result = "already_present" if present else ["already_started", self.reason(child)]
            result = ["error", result]
        except ChildNotFound:
            result = ["error", "not_found"]
        except ChildRunning:
            result = ["error", "running"]
        except NameTaken as error:
            result = ["error", self.reason(error)]
        except StartError as error:
            result = ["error", self.reason(error.reason)]
        except CallFailed as error:
            result = ["call_failed", self.reason(error.reason)]
        self.log(what, result)

    def started(self, pid: Pid | None) -> Any:
        return ["ok", "none" if pid is None else self.world.name_of(pid)]

    def to_start_child(self, pid: Pid, label: str, spec: Any) -> Awaitable[None]:
        request = StartChild(self.world.actors.child_spec(self.world, spec))
        return self.ask("start_child", pid, request, self.started)

    def to_start_dynamic(self, pid: Pid, sup: str, label: str, desc: Desc) -> Awaitable[None]:
        return self.ask("start_child", pid, StartFromTemplate((label, desc)), self.started)

    def to_terminate_child(self, pid: Pid, sup: str, label: str) -> Awaitable[None]:
        return self.ask("terminate_child", pid, TerminateChild(label), lambda _: "ok")

    async def to_terminate_dynamic(self, pid: Pid, sup: str, label: str) -> None:
        child = self.world.pids.get(label)
        if child is None:
            self.log("unbound", label)
        else:
            await self.ask("terminate_dynamic", pid, TerminateChild(child), lambda _: "ok")

    def to_restart_child(self, pid: Pid, sup: str, label: str) -> Awaitable[None]:
        return self.ask("restart_child", pid, RestartChild(label), self.started)

    def to_delete_child(self, pid: Pid, sup: str, label: str) -> Awaitable[None]:
        return self.ask("delete_child", pid, DeleteChild(label), lambda _: "ok")

    def to_which_children(self, pid: Pid, sup: str) -> Awaitable[None]:
        def show(children: list[Any]) -> Any:
            return sorted(
                [
                    self.label_of(info),
                    "restarting"
                    if info.restarting
                    else "none"
                    if info.pid is None
                    else self.world.name_of(info.pid),
                    info.kind,
                ]
                for info in children
            )

        return self.ask("which_children", pid, WhichChildren(), show)

    def label_of(self, info: ChildInfo) -> Any:
        """The child's id; of a child from a template, which has that of the template, its label."""
        identity = None if info.pid is None else self.world.labels.get(info.pid)
        return info.id if identity is None else identity[0]

    def to_count_children(self, pid: Pid, sup: str) -> Awaitable[None]:
        def show(counts: Any) -> Any:
            return [counts.specs, counts.active, counts.supervisors, counts.workers]

        return self.ask("count_children", pid, CountChildren(), show)

    def to_count_dynamic(self, pid: Pid, sup: str) -> Awaitable[None]:
        def show(counts: Any) -> Any:  # without `specs`: see `dynamic-specs`
            return [counts.active, counts.supervisors, counts.workers]

        return self.ask("count_dynamic", pid, CountChildren(), show)
