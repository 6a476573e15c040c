"""Crash and supervisor reports read like OTP's."""

from __future__ import annotations

from typing import Any

import pytest
from runtime_kit import Recorder, Server, Trapper, World, boom, inside, run

from palaver.actors.runtime import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    CrashReport,
    From,
    NullObserver,
    Pid,
    ProcessContext,
    StartError,
    Stop,
    StructlogObserver,
    SupervisorReport,
    report_supervisor,
)
from palaver.supervisors import ChildSpec, DynamicSupervisor, StartChild, Supervisor


class Fragile(Server):
    def handle_call(self, request: Any, from_: From) -> Any:
        try:
            raise KeyError(request)
        except KeyError as error:
            raise ValueError("broken") from error

    def format_status(self) -> Any:
        return {"log": self.log}


def test_a_crash_report_says_who_with_what_and_why_and_whose_child() -> None:
    async def test(w: World) -> None:
        inner = ChildSpec(
            "inner", Supervisor, ([ChildSpec("f", Fragile, name="fragile")],), name="inner"
        )
        root = await w.node.start_server(Supervisor, [inner], name="root")
        pid, middle = w.node.whereis("fragile"), w.node.whereis("inner")
        client: list[Pid] = []

        async def ask(ctx: ProcessContext) -> None:
            client.append(ctx.pid)
            with pytest.raises(Exception, match="broken"):
                await ctx.call("fragile", "question")

        await inside(w, ask)
        await w.settle()
        (report,) = w.observer.crashes
        assert (report.pid, report.name, report.client) == (pid, "fragile", client[0])
        assert report.ancestors == (f"inner {middle}", f"root {root}")
        assert report.links == (f"inner {middle}",)
        assert (report.last_message, report.state) == ("question", {"log": []})
        assert (report.trap_exit, report.reductions) == (False, 2)
        text = str(report)
        for part in (
            f"Fragile {pid} (fragile) terminating: crash: ValueError: broken",
            "last message: 'question'",
            f"client: {client[0]}",
            "state: {'log': []}",
            f"ancestors: inner {middle}, root {root}",
            "KeyError: 'question'",
            "direct cause",
        ):
            assert part in text
        assert w.observer.restarts[0][:2] == (middle, "f")

    run(test)


def supervisor_report(pid: Pid) -> SupervisorReport:
    return SupervisorReport(
        supervisor=pid,
        name="pool",
        context="child_terminated",
        reason="why",
        child_id="worker",
        child=pid,
        start="shop.Worker",
        restart="permanent",
        kind="worker",
        restarts=2,
        intensity=3,
        period_s=5,
    )


def test_a_supervisor_report_reaches_observers_that_have_the_method() -> None:
    async def test(w: World) -> None:
        pid = w.node.spawn(Server)
        report_supervisor(w.node, supervisor_report(pid))  # the recorder has none

        class Listening(NullObserver):
            def __init__(self) -> None:
                self.heard: list[SupervisorReport] = []

            def supervisor_report(self, report: SupervisorReport) -> None:
                self.heard.append(report)

        w.node.observer = heard = Listening()
        report_supervisor(w.node, supervisor_report(pid))
        assert heard.heard == [supervisor_report(pid)]
        w.node.observer = NullObserver()  # has none either
        report_supervisor(w.node, supervisor_report(pid))

    run(test)


def test_the_structlog_observer_prints_reports_as_otp_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def test(w: World) -> None:
        w.node.observer = StructlogObserver()
        pid = w.node.spawn(Fragile)
        report_supervisor(w.node, supervisor_report(pid))
        with pytest.raises(Exception, match="broken"):
            await w.node.call(pid, "q")

    run(test)
    out = capsys.readouterr().out
    assert "(pool): child_terminated" in out
    assert "child: 'worker'" in out
    assert "shop.Worker, permanent worker" in out
    assert "restarts: 2 of 3 within 5 s" in out
    assert "last message: 'q'" in out


class Listening(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.reports: list[SupervisorReport] = []

    def supervisor_report(self, report: SupervisorReport) -> None:
        self.reports.append(report)

    @property
    def contexts(self) -> list[Any]:
        return [(r.context, r.child_id, r.restarts, r.intensity) for r in self.reports]


@pytest.mark.parametrize("dynamic", [False, True])
def test_supervisors_report_ends_failed_starts_and_that_they_give_up(dynamic: bool) -> None:
    async def test(w: World) -> None:
        w.node.observer = heard = Listening()
        starts: list[int] = []

        def init(s: Server) -> None:
            starts.append(1)
            if len(starts) > 1:
                raise ValueError("does not start again")

        spec = ChildSpec("odd", Server, (init,))
        if dynamic:
            options: Any = {"intensity": 2, "period_s": 5}
            boss = await w.node.start_server(DynamicSupervisor, name="boss", **options)
            pid = await w.node.call(boss, StartChild(spec))
        else:
            boss = await w.node.start_server(Supervisor, [spec], intensity=2, name="boss")
            pid = next(p.pid for p in w.node.processes() if p.parent is boss)
        w.node.exit(pid, "because")
        await w.settle()
        assert heard.contexts == [
            ("child_terminated", "odd", 1, 2),
            ("start_error", "odd", 1, 2),
            ("start_error", "odd", 2, 2),
            ("shutdown", "odd", 3, 2),
        ]
        first = heard.reports[0]
        assert (first.supervisor, first.name, first.child, first.reason) == (
            boss, "boss", pid, "because",
        )  # fmt: skip
        assert (first.start, first.restart, first.kind, first.period_s) == (
            "runtime_kit.Server", "permanent", "worker", 5,
        )  # fmt: skip
        assert str(heard.reports[3].reason) == "reached_max_restart_intensity"
        assert "does not start again" in str(heard.reports[1].reason)

    run(test)


def test_ends_that_are_no_failure_are_not_reported() -> None:
    async def test(w: World) -> None:
        w.node.observer = heard = Listening()
        specs = [
            ChildSpec(restart, Server, name=restart, restart=restart)  # type: ignore[arg-type]
            for restart in ("permanent", "transient", "temporary")
        ]
        await w.node.start_server(Supervisor, specs, intensity=9)
        for name in ("permanent", "transient", "temporary"):
            w.node.cast(name, lambda s: Stop(NORMAL))
        await w.settle()
        assert heard.contexts == [("child_terminated", "permanent", 1, 9)]
        w.node.exit(w.node.whereis("permanent"), "bad")  # type: ignore[arg-type]
        await w.settle()
        assert heard.contexts[1:] == [("child_terminated", "permanent", 2, 9)]

    run(test)


def test_children_that_do_not_stop_as_told_are_reported() -> None:
    class Stubborn(Trapper):
        async def terminate(self, reason: object) -> None:
            await self.sleep(100)

    class Failing(Trapper):
        def terminate(self, reason: object) -> None:
            raise ValueError("in terminate")

    async def test(w: World) -> None:
        w.node.observer = heard = Listening()
        specs = [
            ChildSpec("fine", Trapper),
            ChildSpec("killed at once", Trapper, shutdown_s=0),
            ChildSpec("stubborn", Stubborn, shutdown_s=1),
            ChildSpec("failing", Failing),
            ChildSpec("over", Server, name="over", restart="temporary"),
        ]
        boss = await w.node.start_server(Supervisor, specs)
        w.node.exit(boss, SHUTDOWN)
        await w.advance(2)
        assert not w.node.is_alive(boss)
        assert [(r.context, r.child_id) for r in heard.reports] == [
            ("shutdown_error", "failing"),
            ("shutdown_error", "stubborn"),
        ]
        assert heard.reports[1].reason is KILLED

    run(test)


def test_a_supervisor_that_does_not_start_says_whose_fault_it_is() -> None:
    async def test(w: World) -> None:
        w.node.observer = heard = Listening()
        with pytest.raises(StartError):
            await w.node.start_server(
                Supervisor, [ChildSpec("good", Server), ChildSpec("bad", Server, (boom,))]
            )
        assert heard.contexts == [("start_error", "bad", 0, 1)]

    run(test)


def test_a_report_made_by_hand_needs_only_what_it_always_did() -> None:
    report = CrashReport(Pid("n", 1), None, "b", "why", None, None, None, 0)
    assert str(report).splitlines()[0] == "b <n.1> terminating: why"
