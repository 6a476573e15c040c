"""Crash and supervisor reports read like OTP's."""

from __future__ import annotations

from typing import Any

import pytest
from runtime_kit import Server, World, inside, run

from palaver.actors.runtime import (
    CrashReport,
    From,
    NullObserver,
    Pid,
    ProcessContext,
    StructlogObserver,
    SupervisorReport,
    report_supervisor,
)
from palaver.supervisors import ChildSpec, Supervisor


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
        w.node.observer = NullObserver()
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


def test_a_report_made_by_hand_needs_only_what_it_always_did() -> None:
    report = CrashReport(Pid("n", 1), None, "b", "why", None, None, None, 0)
    assert str(report).splitlines()[0] == "b <n.1> terminating: why"
