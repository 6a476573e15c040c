"""Hot code: a module changes on disk, its servers go on under the new classes with their state."""

from __future__ import annotations

import asyncio
import importlib
import sys as python
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from runtime_kit import Server, World, inside, run, world

from palaver.actors.observing import hot_code, sys
from palaver.actors.observing.asking import CallbackFailed
from palaver.actors.runtime import KILL
from palaver.supervisors import ChildSpec, DynamicSupervisor, StartChild, Supervisor, WhichChildren
from palaver.supervisors.new_code import renewed
from palaver.supervisors.requests import GetChildSpec

FIRST = """
    from palaver.actors.runtime import GenServer, NOREPLY

    STEP = 1

    class Shelf:
        class Counter(GenServer):
            __slots__ = ("n", "waiting")
            __vsn__ = 1

            def init(self, n=0):
                self.n, self.waiting = n, []

            def handle_call(self, request, from_):
                if request == "wait":
                    self.waiting.append(from_)
                    return NOREPLY
                if request == "slow":
                    return self.slow()
                self.n += STEP
                return ("one", self.n)

            def handle_cast(self, message):
                for from_ in self.waiting:
                    self.reply(from_, ("one", message))

            async def slow(self):
                await self.sleep(1)
                return ("one", self.n)

    async def job(ctx):
        await ctx.receive()
"""

SECOND = (
    FIRST.replace('("one"', '("two"')
    .replace("STEP = 1", "STEP = 10")
    .replace("__vsn__ = 1", "__vsn__ = 2")
)


class Code:
    """A module on disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hot_code_on_disk.py"

    def write(self, text: str) -> None:
        self.path.write_text(textwrap.dedent(text))

    def module(self) -> ModuleType:
        return importlib.import_module("hot_code_on_disk")


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Code]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Code(tmp_path)
    made.write(FIRST)
    yield made
    python.modules.pop("hot_code_on_disk", None)


def layout(text: str) -> str:
    """The second version, with its counter renamed and a `code_change`."""
    body = textwrap.dedent(SECOND).replace('("n", "waiting")', '("count", "waiting")')
    body = body.replace("self.n", "self.count")
    change = textwrap.indent(textwrap.dedent(text), " " * 8)
    return body.replace("\nasync def job", change + "\nasync def job")


RENAMED = layout("""
    def code_change(self, old_version, state, extra):
        if state["n"] == extra:
            raise RuntimeError("not this one")
        self.count = state["n"]
""")


def test_a_hundred_running_servers_keep_their_state_and_calls(code: Code) -> None:
    module = code.module()

    async def test(w: World) -> None:
        pids = [w.node.spawn(module.Shelf.Counter, n) for n in range(100)]
        for pid in pids:
            assert (await w.node.call(pid, "count"))[0] == "one"
        in_flight = [asyncio.ensure_future(w.node.call(pid, "wait")) for pid in pids]
        slow = asyncio.ensure_future(w.node.call(pids[0], "slow"))
        await asyncio.sleep(0)
        await w.settle()
        code.write(SECOND)
        loading = asyncio.ensure_future(hot_code.load_module(w.node, module))
        await asyncio.sleep(0)
        await w.settle()
        assert not loading.done()  # the slow one finishes in the old code first
        await w.advance(1)
        loaded = await loading
        assert await slow == ("one", 1)
        assert set(loaded.changed) == set(pids)
        assert (loaded.failed, loaded.busy, loaded.gone) == ({}, (), ())
        for pid in pids:
            w.node.cast(pid, "answer")
        assert await asyncio.gather(*in_flight) == [("two", "answer")] * 100
        assert [await w.node.call(pid, "count") for pid in pids] == [
            ("two", n + 11) for n in range(100)
        ]
        (again,) = {(await hot_code.change_processes(w.node, module)).changed}
        assert again == ()

    run(test)


def test_the_instance_stays_the_same_where_the_layout_does(code: Code) -> None:
    module = code.module()

    async def test(w: World) -> None:
        pid = w.node.spawn(module.Shelf.Counter)
        await w.settle()
        instance = pid.process_.context  # type: ignore[union-attr]
        code.write(SECOND)
        await hot_code.load_module(w.node, module)
        assert pid.process_.context is instance  # type: ignore[union-attr]
        code.write(RENAMED)
        await hot_code.load_module(w.node, module)
        assert pid.process_.context is not instance  # type: ignore[union-attr]
        for _ in range(50):
            w.node.cast(pid, "x")
        assert await w.node.call(pid, "count") == ("two", 10)

    run(test)


def test_a_failing_code_change_leaves_that_server_as_it_was(
    code: Code, capsys: pytest.CaptureFixture[str]
) -> None:
    module = code.module()

    async def test(w: World) -> None:
        pids = [w.node.spawn(module.Shelf.Counter, n) for n in range(10)]
        code.write(RENAMED)
        loaded = await hot_code.load_module(w.node, module, 4)
        assert list(loaded.failed) == [pids[4]]
        assert "not this one" in str(loaded.failed[pids[4]])
        assert len(loaded.changed) == 9
        assert await w.node.call(pids[4], "count") == ("one", 14)  # with the module's new globals
        assert await w.node.call(pids[5], "count") == ("two", 15)
        again = await hot_code.change_processes(w.node, module, None)
        assert again.changed == (pids[4],)
        assert await w.node.call(pids[4], "count") == ("two", 24)
        assert not w.observer.crashes

    run(test)
    assert "code change failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("def (", "invalid syntax"),
        ("import there_is_no_such_module", "there_is_no_such_module"),
        (FIRST + "\n    STEP = 5\n    1 / 0", "ZeroDivisionError"),
        ("\0", "null bytes"),
    ],
)
def test_a_broken_module_leaves_everything_as_it_was(code: Code, broken: str, why: str) -> None:
    module = code.module()
    before = dict(module.__dict__)

    async def test(w: World) -> None:
        pid = w.node.spawn(module.Shelf.Counter)
        code.write(broken)
        with pytest.raises(hot_code.LoadFailed, match=why):
            await hot_code.load_module(w.node, module)
        assert {**module.__dict__} == before
        assert await w.node.call(pid, "count") == ("one", 1)

    run(test)


def test_what_cannot_be_loaded_says_why() -> None:
    async def test(w: World) -> None:
        with pytest.raises(hot_code.LoadFailed, match="never imported"):
            await hot_code.load_module(w.node, "there.is.no.such.module")
        with pytest.raises(hot_code.LoadFailed, match="no source"):
            await hot_code.load_module(w.node, ModuleType("made_up"))
        with pytest.raises(hot_code.LoadFailed, match="no source"):
            await hot_code.load_module(w.node, "sys")

    run(test)


def test_two_changes_within_a_second_are_both_seen(code: Code) -> None:
    module = code.module()

    async def test(w: World) -> None:
        pid = w.node.spawn(module.Shelf.Counter)
        for number in range(5):  # of the same size: the bytecode cache would not notice
            code.write(FIRST.replace('("one"', f'("x{number}a"'))
            await hot_code.load_module(w.node, module)
            assert (await w.node.call(pid, "count"))[0] == f"x{number}a"

    run(test)


def test_who_is_busy_keeps_the_old_class_until_asked_again(code: Code) -> None:
    module = code.module()

    async def test(w: World) -> None:
        pids = [w.node.spawn(module.Shelf.Counter) for _ in range(3)]
        slow = asyncio.ensure_future(w.node.call(pids[1], "slow"))
        await asyncio.sleep(0)
        await w.settle()
        code.write(SECOND)
        loading = asyncio.ensure_future(hot_code.load_module(w.node, module, timeout_s=0.5))
        await asyncio.sleep(0)
        await w.advance(0.6)
        loaded = await loading
        assert (loaded.busy, loaded.changed) == ((pids[1],), (pids[0], pids[2]))
        await w.advance(1)
        assert await slow == ("one", 0)
        assert (await w.node.call(pids[1], "count"))[0] == "one"
        assert (await hot_code.change_processes(w.node, module)).changed == (pids[1],)

    run(test)


def test_a_class_that_is_gone_keeps_its_servers(code: Code) -> None:
    code.write(FIRST + "\n\n    class Extra(Shelf.Counter):\n        pass\n")
    module = code.module()

    async def test(w: World) -> None:
        pid = w.node.spawn(module.Extra)
        code.write(SECOND.replace("class Shelf", "class Rack") + "\n    Extra = 5\n")
        module.__dict__.pop("Shelf")
        loaded = await hot_code.load_module(w.node, module)
        assert loaded.gone == ("Extra",)
        assert await w.node.call(pid, "count") == ("one", 10)

    run(test)


def test_a_process_changes_code_but_cannot_change_its_own(code: Code) -> None:
    module = code.module()

    async def test(w: World) -> None:
        pid = w.node.spawn(module.Shelf.Counter)
        code.write(SECOND)
        loaded = await inside(w, lambda ctx: hot_code.load_module(ctx, module))
        assert loaded.changed == (pid,)

        class Better(Server):
            pass

        server = w.node.spawn(Server)
        await inside(w, lambda ctx: hot_code.change_code(ctx, server, Better))
        assert type(server.process_.context) is Better  # type: ignore[union-attr]
        with pytest.raises(CallbackFailed):
            await hot_code.change_code(w.node, server, int)  # type: ignore[arg-type]

    run(test)


def test_nodes_of_one_program_are_changed_one_by_one(code: Code) -> None:
    module = code.module()

    async def test(w: World) -> None:
        async def other(w2: World) -> None:
            here, there = w.node.spawn(module.Shelf.Counter), w2.node.spawn(module.Shelf.Counter)
            code.write(SECOND)
            assert (await hot_code.load_module(w.node, module)).changed == (here,)
            assert (await w2.node.call(there, 1))[0] == "one"
            assert (await hot_code.change_processes(w2.node, module)).changed == (there,)

        async with world() as w2:
            await other(w2)

    run(test)


def test_a_behaviour_s_hook_runs_after_its_user_s(code: Code) -> None:
    order: list[str] = []

    class Old(Server):
        pass

    class Behaviour(Server):
        def system_code_change(self, *args: Any) -> Any:
            result = super().system_code_change(*args)
            order.append("behaviour")
            return result

    class New(Behaviour):
        def code_change(self, old_version: Any, state: Any, extra: Any) -> None:
            order.append("user")

    async def test(w: World) -> None:
        pid = w.node.spawn(Old)
        await hot_code.change_code(w.node, pid, New)
        assert order == ["user", "behaviour"]
        assert (await sys.get_state(w.node, pid))["log"] == []

    run(test)


def test_supervisors_restart_into_the_new_code(code: Code) -> None:
    module = code.module()

    async def test(w: World) -> None:
        inner = [ChildSpec("deep", module.Shelf.Counter, name="deep")]
        specs = [
            ChildSpec("counter", module.Shelf.Counter, name="counter"),
            ChildSpec("job", module.job),
            ChildSpec("inner", Supervisor, (inner,), kind="supervisor", name="inner"),
            ChildSpec("pool", DynamicSupervisor, kind="supervisor", name="pool"),
        ]
        root = await w.node.start_server(Supervisor, specs, intensity=9)
        pooled = ChildSpec("pooled", module.Shelf.Counter)
        crowd = [await w.node.call("pool", StartChild(pooled)) for _ in range(20)]
        old_job = module.job
        code.write(SECOND)
        loaded = await hot_code.load_module(w.node, module)
        assert len(loaded.changed) == 22
        assert module.job is not old_job
        # The inner supervisor is itself restarted, from what its own specification holds.
        for pid in (w.node.whereis("counter"), w.node.whereis("inner"), crowd[7]):
            w.node.exit(pid, KILL)  # type: ignore[arg-type]
        await w.settle()
        for name in ("counter", "deep"):
            assert await w.node.call(name, "count") == ("two", 10)
        children = await w.node.call("pool", WhichChildren())
        assert len(children) == 20
        for child in children:
            assert (await w.node.call(child.pid, "count"))[0] == "two"
        job = await w.node.call(root, GetChildSpec("job"))
        assert job.start is module.job

    run(test)


def test_new_code_is_found_wherever_a_specification_holds_it() -> None:
    def old() -> None: ...
    def new() -> None: ...

    changes = {Server: World, old: new}
    spec = ChildSpec("a", Server, ([1, (Server, {"k": old})],), options={"more": [Server]})
    changed = renewed(spec, changes)
    assert changed.start is World
    assert changed.args == ([1, (World, {"k": new})],)
    assert changed.options == {"more": [World]}
    assert (changed.id, changed.restart, changed.shutdown_s) == ("a", "permanent", 5.0)
    assert renewed(spec, {int: str}) is spec
    deep: Any = Server
    for _ in range(20):
        deep = [deep]
    assert renewed(deep, changes) is deep  # further down than it looks
