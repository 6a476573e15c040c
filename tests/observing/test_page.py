"""The observer's page: real HTTP, and a real browser where there is one."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from runtime_kit import Recorder, Server

from palaver.actors.runtime import GenServer, Node, Pid
from palaver.supervisors import ChildSpec, Supervisor
from palaver.supervisors.observer_page import NodeObserver, ObserverPage, serve_observer
from palaver.transport.http.admin import AdminServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

Work = Callable[[Node, ObserverPage, aiohttp.ClientSession], Awaitable[None]]


class Secret(GenServer):
    def init(self) -> None:
        self.password = "hunter2"


class Open(Secret):
    def format_status(self) -> Any:
        return {"password": "***"}


class Angry(GenServer):
    """Its name and state try to be HTML."""

    def format_status(self) -> Any:
        return {"<script>alert(1)</script>": "<img src=x onerror=alert(2)>"}


def serve(work: Work, **options: Any) -> None:
    async def main() -> None:
        specs = [
            ChildSpec("secret", Secret, name="secret"),
            ChildSpec("open", Open, name="open"),
            ChildSpec("angry", Angry, name="<b>angry</b>"),
        ]
        async with Node("shop@test", observer=Recorder()) as node:
            await node.start_server(Supervisor, specs, name="root")
            async with (
                await serve_observer(node, **options) as page,
                aiohttp.ClientSession(f"http://127.0.0.1:{page.port}") as http,
            ):
                await work(node, page, http)

    asyncio.run(main())


async def get(http: aiohttp.ClientSession, path: str, **options: Any) -> tuple[int, Any]:
    async with http.get(path, **options) as answer:
        return answer.status, await answer.json()


def test_the_page_and_its_parts_are_served_and_locked_down() -> None:
    async def work(_: Node, page: ObserverPage, http: aiohttp.ClientSession) -> None:
        assert page.url == f"http://127.0.0.1:{page.port}/observer"
        async with http.get("/") as answer:
            assert answer.url.path == "/observer"
        for path, kind in (
            ("/observer", "text/html"),
            ("/observer/app.js", "text/javascript"),
            ("/observer/style.css", "text/css"),
        ):
            async with http.get(path) as answer:
                assert answer.status == 200
                assert answer.content_type == kind
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for method in ("post", "put", "delete"):
            async with http.request(method, "/observer/v1/node") as answer:
                assert answer.status == 405

    serve(work)


class Page(HTMLParser):
    """Collects ids, references to them, and whatever a strict policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.wanted: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        for name in ("aria-controls", "aria-labelledby", "for"):
            if given.get(name):
                self.wanted.append(str(given[name]))
        self.links += [str(given[name]) for name in ("src", "href") if name in given]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "script" and "src" not in given:
            self.inline.append("script")
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_elsewhere() -> None:
    folder = files("palaver.transport.http") / "pages"
    page = Page()
    page.feed((folder / "observer.html").read_text("utf-8"))
    assert page.open == ["html"] or not page.open
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.wanted) <= set(page.ids)
    assert page.inline == []
    assert all(link.startswith(("/observer/", "#", "data:")) for link in page.links)
    script = (folder / "observer.js").read_text("utf-8")
    assert "innerHTML" not in script
    assert "http://" not in script.replace("http://www.w3.org/2000/svg", "")
    for used in {part.split('"')[0] for part in script.split('$("')[1:]}:
        assert used in page.ids or any(name.startswith(used) for name in page.ids)
    assert "http" not in (folder / "observer.css").read_text("utf-8")


def test_everything_is_answered_as_json() -> None:
    async def work(node: Node, _: ObserverPage, http: aiohttp.ClientSession) -> None:
        status, figures = await get(http, "/observer/v1/node")
        assert (status, figures["name"], figures["processes"]) == (200, "shop@test", 4)
        assert figures["memory_bytes"] > 1 << 20
        _, page = await get(http, "/observer/v1/processes?sort=pid&limit=2&offset=1")
        assert (page["total"], [row["name"] for row in page["rows"]]) == (4, ["secret", "open"])
        _, page = await get(http, "/observer/v1/processes", params={"search": "ANGRY"})
        assert [row["name"] for row in page["rows"]] == ["<b>angry</b>"]
        _, (root,) = await get(http, "/observer/v1/tree")
        assert (root["row"]["name"], root["below"], len(root["children"])) == ("root", 3, 3)
        _, (cut,) = await get(http, "/observer/v1/tree?depth=1&root=root")
        assert (cut["children"], cut["hidden"]) == ([], 3)
        assert (await get(http, "/observer/v1/tree?root=nobody"))[1] == []
        pid = str(node.whereis("secret"))
        _, found = await get(http, "/observer/v1/process", params={"pid": pid})
        assert (found["registered_names"], found["parent"]) == (["secret"], root["row"]["pid"])
        assert (await get(http, "/observer/v1/process?pid=nobody"))[0] == 404
        assert (await get(http, "/observer/v1/process"))[0] == 404

    serve(work)


@pytest.mark.parametrize(
    "query",
    [
        "processes?sort=colour", "processes?limit=0", "processes?limit=1001", "processes?limit=x",
        "processes?offset=-1", "processes?offset=9999999", "processes?limit=²",
        "tree?depth=0", "tree?depth=99", "tree?per_parent=0",
        "processes?search=" + "x" * 201,
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(query: str) -> None:
    async def work(_: Node, __: ObserverPage, http: aiohttp.ClientSession) -> None:
        status, answer = await get(http, f"/observer/v1/{query}")
        assert (status, answer["error"]["code"]) == (400, "bad_request")

    serve(work)


def test_bare_states_are_for_local_clients_that_are_allowed() -> None:
    async def view(http: aiohttp.ClientSession, pid: str, host: str = "localhost:1") -> Any:
        headers = {"Host": host}
        return (await get(http, f"/observer/v1/state?pid={pid}", headers=headers))[1]

    async def shown(_: Node, __: ObserverPage, http: aiohttp.ClientSession) -> None:
        for host in ("localhost", "127.0.0.1:80", "[::1]:80", "[::1]"):
            secret = await view(http, "secret", host)
            assert secret["attributes"] == [["password", "'hunter2'"]]
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "x:y:z"):
            assert (await view(http, "secret", host))["source"] == "hidden"
            assert (await view(http, "open", host))["attributes"] == [["password", "'***'"]]
        assert (await view(http, "nobody"))["source"] == "gone"

    async def hidden(_: Node, __: ObserverPage, http: aiohttp.ClientSession) -> None:
        assert (await view(http, "secret"))["source"] == "hidden"
        assert (await view(http, "open"))["source"] == "format_status"

    serve(shown)
    serve(hidden, show_state=False)


class Health:
    async def not_ready(self) -> list[str]:
        return []


def test_the_operator_s_ports_show_bare_states_as_they_are_told(tmp_path: Path) -> None:
    async def bare(http: aiohttp.ClientSession, base: str) -> str:
        status, view = await get(http, base + "/observer/v1/state?pid=secret")
        assert status == 200
        return str(view["source"])

    async def main(show_state: bool) -> list[str]:
        socket = tmp_path / "admin.sock"
        async with Node("shop@test") as node:
            await node.start_server(Secret, name="secret")
            admin: Any = Health()
            server = await AdminServer.start(
                registry=CollectorRegistry(), health=admin, admin=admin, socket_path=socket,
                observer=NodeObserver(node), show_state=show_state,
            )  # fmt: skip
            unix = aiohttp.UnixConnector(str(socket))
            async with aiohttp.ClientSession() as tcp, aiohttp.ClientSession(connector=unix) as own:
                async with own.get("http://node/observer") as page:
                    assert page.status == 200
                found = [await bare(tcp, f"http://127.0.0.1:{server.port}")]
                found.append(await bare(own, "http://node"))
            await server.close()
            return found

    assert asyncio.run(main(show_state=False)) == ["hidden", "state"]
    assert asyncio.run(main(show_state=True)) == ["state", "state"]


def test_a_taken_port_leaves_nothing_behind() -> None:
    async def work(node: Node, page: ObserverPage, _: aiohttp.ClientSession) -> None:
        with pytest.raises(OSError, match="in use"):
            await serve_observer(node, port=page.port)

    serve(work)


class Browser:
    """A page in a real browser, asked over the DevTools protocol."""

    def __init__(self, http: aiohttp.ClientSession, folder: Path) -> None:
        self._http = http
        self._folder = folder
        self._number = 0
        self.complaints: list[str] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={self._folder}", "--remote-debugging-port=0",
            "--remote-allow-origins=*", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            found = re.search(rb"ws://127\.0\.0\.1:(\d+)/", line)
            if found is not None:
                break
        else:
            raise AssertionError("the browser has not started")
        self._draining = asyncio.ensure_future(self._process.stderr.read())
        async with self._http.get(f"http://127.0.0.1:{int(found[1])}/json/list") as answer:
            pages = await answer.json(content_type=None)
        target = next(page for page in pages if page["type"] == "page")
        self._socket = await self._http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Log", "Runtime", "Page"):
            await self.tell(f"{domain}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        self._process.kill()
        await self._draining
        await self._process.wait()

    async def tell(self, method: str, **params: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async for message in self._socket:
            event = json.loads(message.data)
            if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(str(event["params"]))
            if event.get("id") == self._number:
                assert "error" not in event, event
                return event["result"]
        raise AssertionError("the browser has gone")

    async def run(self, script: str) -> Any:
        result = await self.tell("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str) -> None:
        """Until a condition holds in the page: it draws what comes from the node when it comes."""
        async with asyncio.timeout(60):
            while not await self.run(f"Boolean({condition})"):
                await self.run("0")


@pytest.mark.peer
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_browser_shows_the_tree_the_list_and_one_process(tmp_path: Path) -> None:
    async def work(node: Node, page: ObserverPage, http: aiohttp.ClientSession) -> None:
        async with Browser(http, tmp_path) as browser:
            await browser.tell("Page.navigate", url=page.url)
            await browser.until("document.querySelector('#live')?.textContent === 'live'")
            assert await browser.run("document.querySelector('#node').textContent") == "shop@test"
            names = "[...document.querySelectorAll('#tree .open')].map(b => b.textContent)"
            assert await browser.run(names) == ["root", "secret", "open", "<b>angry</b>"]
            assert await browser.run("document.querySelectorAll('#tree b').length") == 0
            # Close the root, then see a new process come in by itself.
            await browser.run("document.querySelector('#tree .toggle').click()")
            assert await browser.run(names) == ["root"]
            late: Pid = node.spawn(Server, name="spawned late")
            await browser.until(f"{names}.join() === 'root,spawned late'")
            await browser.until("document.querySelector('#figures polyline')")
            # The list: searched and sorted.
            await browser.run("document.querySelector('#tab-list').click()")
            listed = names.replace("#tree", "#list")
            await browser.until(f"{listed}.length === 5")
            await browser.run(
                "document.querySelector('#search').value = 'ANGRY';"
                "document.querySelector('#search').dispatchEvent(new Event('input'))"
            )
            await browser.until(f"{listed}.join() === '<b>angry</b>'")
            await browser.run("document.querySelector('[data-sort=pid] button').click()")
            await browser.until("document.querySelector('[data-sort=pid][aria-sort=ascending]')")
            # One process, its state, and from there to its parent by a link.
            await browser.run("document.querySelector('#list .open').click()")
            heading = "document.querySelector('#details h2')?.textContent"
            await browser.until(f"{heading} === '<b>angry</b>'")
            await browser.run("document.querySelector('#details .ask').click()")
            await browser.until("document.querySelector('#details pre')")
            state = await browser.run("document.querySelector('#details pre').textContent")
            assert state == "<script>alert(1)</script>: '<img src=x onerror=alert(2)>'"
            await browser.run("document.querySelector('#details .pids button').click()")
            await browser.until(f"{heading} === 'root'")
            # An address that was kept shows the same again; a process that is gone says so.
            await browser.tell(
                "Page.navigate", url=f"{page.url}?again#view=list&pid={quote(str(late))}"
            )
            await browser.until(f"{heading} === 'spawned late'")
            node.exit(late, "gone")
            await browser.until(
                "document.querySelector('#details')?.textContent.includes('exited')"
            )
            await browser.run("document.querySelector('#details .close').click()")
            await browser.until("document.querySelector('#details').hidden")
        # 404 is how a process that has exited is told; all else would be a mistake.
        assert [text for text in browser.complaints if "404" not in text] == []

    serve(work)
