"""`palaver top`: once, as JSON, live in a terminal; from a socket and from a page."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_programs import WAIT_S, Node, command, environment, inside
from rich.console import Console

from palaver.actors.runtime import GenServer
from palaver.actors.runtime import Node as RuntimeNode
from palaver.supervisors import ChildSpec, Supervisor
from palaver.supervisors.cli.top_screen import Picture, Row, amount, picture_of, size, tree_rows
from palaver.supervisors.observer_page import serve_observer


class Worker(GenServer):
    pass


class Shop:
    """A node with a page, on a thread of its own: the command runs in this one."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.url = ""
        self.loop = asyncio.new_event_loop()
        self.end: asyncio.Future[None] | None = None
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.run()))
        self.thread.start()
        assert self.up.wait(WAIT_S)

    async def run(self) -> None:
        self.end = self.loop.create_future()
        specs = [ChildSpec(n, Worker, name=f"worker-{n}") for n in range(5)]
        async with RuntimeNode("shop@test") as node:
            await node.start_server(Supervisor, specs, name="root")
            async with await serve_observer(node) as page:
                self.url = page.url
                self.up.set()
                await self.end

    def close(self) -> None:
        assert self.end is not None
        self.loop.call_soon_threadsafe(self.end.set_result, None)
        self.thread.join(WAIT_S)
        self.loop.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.close()


def test_it_prints_once_as_a_list_and_as_a_tree(shop: Shop) -> None:
    done = inside("top", "--url", shop.url, "--once", "--interval", "0.5", "--sort", "pid")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("shop@test   processes 6   run queue 0")
    assert lines[3].split()[:3] == ["process", "▼", "behaviour"]
    assert [line.split()[0] for line in lines[4:10]] == ["root", *(f"worker-{n}" for n in range(5))]
    done = inside("top", "--url", shop.url, "--tree", "--interval", "0.5")
    assert [line.split(" <")[0] for line in done.stdout.splitlines()[4:10]] == [
        "root", *(f"├─ worker-{n}" for n in range(4)), "└─ worker-4",
    ]  # fmt: skip
    done = inside("top", "--url", shop.url, "--search", "WORKER-3", "--interval", "0.5")
    assert len(done.stdout.splitlines()) == 5


def test_it_prints_json_for_programs(shop: Shop) -> None:
    done = inside("top", "--url", shop.url, "--json", "--limit", "2", "--interval", "0.5")
    found = json.loads(done.stdout)
    assert found["node"]["processes"] == 6
    assert found["node"]["interval_s"] > 0
    assert len(found["processes"]["rows"]) == 2
    assert found["processes"]["total"] == 6
    done = inside("top", "--url", shop.url, "--json", "--tree", "--interval", "0.5")
    assert json.loads(done.stdout)["tree"][0]["below"] == 5


def test_what_cannot_be_watched_is_said_in_a_line(tmp_path: Path, shop: Shop) -> None:
    done = inside("top", "--data", str(tmp_path))
    assert done.returncode == 1
    assert f"no node runs on {tmp_path}" in done.stderr
    done = inside("top", "--url", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no address of a page" in done.stderr
    done = inside("top", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    done = inside("top", "--url", shop.url, "--interval", "0.1")
    assert done.returncode == 2


def test_it_watches_a_node_through_its_socket(tmp_path: Path) -> None:
    node = Node(tmp_path)
    try:
        done = inside("top", "--data", str(node.data), "--json", "--tree", "--interval", "0.5")
        assert done.returncode == 0, done.stderr
        (root,) = json.loads(done.stdout)["tree"]
        assert root["row"]["name"] == "root"
        assert root["below"] > 5
        done = inside("top", "--url", node.where["admin"], "--json", "--interval", "0.5")
        assert json.loads(done.stdout)["node"]["name"] == "palaver@local"
    finally:
        node.close()


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        env = {**environment(), "TERM": "xterm-256color", "LINES": "30", "COLUMNS": "120"}
        self.process = subprocess.Popen(
            command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=env,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.output = ""

    def until(self, text: str) -> None:
        """Read until a text has come, and forget what came before."""
        ends = time.monotonic() + WAIT_S
        while text not in self.output:
            assert time.monotonic() < ends, f"{text!r} never came\n{self.output[-2000:]}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65_536).decode("utf-8", "replace")
        self.output = self.output.partition(text)[2]

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        """Its exit code; what it still writes is read meanwhile."""
        ends = time.monotonic() + WAIT_S
        while self.process.poll() is None and time.monotonic() < ends:
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    os.read(self.master, 65_536)
                except OSError:  # it has closed its side
                    break
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


def test_keys_change_what_is_shown(shop: Shop) -> None:
    terminal = Terminal("top", "--url", shop.url)
    try:
        terminal.until("mailbox ▼")
        terminal.until("worker-4")
        terminal.press(b"s")
        terminal.until("red/s ▼")
        terminal.press(b"t")
        terminal.until("└─ ")
        terminal.press(b"t ")
        terminal.until("[paused]")
        terminal.press(b"\x1b[B\x1b[B")
        terminal.until("worker-4")
        terminal.press(b"q")
        assert terminal.end() == 0
    finally:
        terminal.close()


def row(name: str, **more: Any) -> dict[str, Any]:
    return {
        "pid": "<n.1>", "name": name, "child_id": None, "behaviour": "m.C", "status": "idle",
        "supervisor": False, "mailbox": 0, "reductions_per_s": 0, "reductions": 1,
        "memory_bytes": 2048, **more,
    }  # fmt: skip


def node(name: str, *children: Any, hidden: int = 0) -> dict[str, Any]:
    return {"row": row(name), "children": list(children), "hidden": hidden}


def test_branches_join_children_to_their_parents() -> None:
    tree = [node("a", node("b", node("c"), hidden=7), node("d", node("e"))), node("f")]
    shown = [(r.lead, r.process["name"] if r.process else r.text) for r in tree_rows(tree)]
    assert shown == [
        ("", "a"),
        ("├─ ", "b"),
        ("│  ├─ ", "c"),
        ("│  └─ ", "and 7 more"),
        ("└─ ", "d"),
        ("   └─ ", "e"),
        ("", "f"),
    ]


FIGURES = {
    "name": "n", "processes": 3, "run_queue": 0, "messages_per_s": 12345.6, "restarts_total": 0,
    "mailbox_total": 0, "mailbox_max": 0, "memory_bytes": None, "spawned_total": 3,
    "exited_total": 0, "timers": 1,
}  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(200, 40), (80, 24), (40, 10), (20, 5)])
def test_the_screen_is_never_higher_than_the_terminal(width: int, height: int) -> None:
    rows = [Row("", row(f"process-{n}", mailbox=n * 60)) for n in range(100)]
    picture = Picture(FIGURES, rows, 100, "mailbox", offset=3, cpu=0.5, help="q quit")
    out = Console(width=width, height=height, record=True, file=io.StringIO())
    out.print(picture_of(picture, width, height))
    lines = out.export_text().splitlines()
    assert len(lines) <= max(height, 6)
    assert "process-2 " not in "\n".join(lines)
    if width >= 80:
        assert "process-3" in lines[4]
        assert "12.3k" in lines[0]


def test_amounts_and_sizes_are_short() -> None:
    assert [amount(n) for n in (0, 7, 0.25, 9999, 12_345, 3_400_000, 5e9)] == [
        "0", "7", "0.2", "9,999", "12.3k", "3.4M", "5.0G",
    ]  # fmt: skip
    assert [size(n) for n in (0, 1023, 2048, 5 << 20, 3 << 30, 1 << 42)] == [
        "0 B", "1023 B", "2.0 KiB", "5.0 MiB", "3.0 GiB", "4.0 TiB",
    ]  # fmt: skip
