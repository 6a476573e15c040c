from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from palaver.transport.http.media import MediaHttpLimits

DATA = os.urandom(600_000)


def run(kit: Any, root: Path, story: Any, **options: Any) -> None:
    async def main() -> None:
        async with kit.world(root, **options) as world:
            await story(world)

    asyncio.run(main())


def test_a_file_is_an_attachment_that_no_browser_runs(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        name = await w.upload(DATA, filetype="text/html", filename="x.html")
        for method in ("GET", "HEAD"):
            got = await w.ask(method, f"/media/{name}", w.auth())
            assert got.status == 200
            assert got.headers["Content-Type"] == "text/html"
            assert got.headers["Content-Length"] == str(len(DATA))
            assert got.headers["Content-Disposition"] == "attachment"
            assert got.headers["X-Content-Type-Options"] == "nosniff"
            assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
            assert got.headers["Accept-Ranges"] == "bytes"
            assert got.headers["ETag"] == f'"{name}"'
            assert got.body == (DATA if method == "GET" else b"")

    run(kit, tmp_path, story)


def test_ranges(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        name, size = await w.upload(DATA), len(DATA)
        for text, start, end in (
            ("bytes=0-0", 0, 1),
            ("bytes=5-99", 5, 100),
            ("bytes=262143-262145", 262143, 262146),
            (f"bytes={size - 1}-", size - 1, size),
            ("bytes=10-999999999999", 10, size),
            ("bytes=-7", size - 7, size),
            ("bytes=-999999999999", 0, size),
            ("BYTES=3-4", 3, 5),
        ):
            got = await w.get(name, Range=text)
            assert (got.status, got.body) == (206, DATA[start:end]), text
            assert got.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
            assert got.headers["X-Content-Type-Options"] == "nosniff"
        for text in (f"bytes={size}-", "bytes=700000-800000", "bytes=-0", "bytes=999999999999-"):
            got = await w.get(name, Range=text)
            assert (got.status, got.error) == (416, "range_not_satisfiable"), text
            assert got.headers["Content-Range"] == f"bytes */{size}"
        # What the standard lets a server ignore.
        ignored = "bytes=0-1,5-6|bytes=5-2|bytes=-|lines=1-2|bytes 1-2|bytes=a-b"
        for text in ignored.split("|"):
            got = await w.get(name, Range=text)
            assert (got.status, got.body) == (200, DATA), text

    run(kit, tmp_path, story)


def test_conditions(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        name = await w.upload(DATA)
        tag = f'"{name}"'
        assert (await w.get(name, Range="bytes=0-4", If_Range=tag)).status == 206
        assert (await w.get(name, Range="bytes=0-4", If_Range='"other"')).status == 200
        date = "Mon, 23 Nov 2026 02:00:00 GMT"
        assert (await w.get(name, Range="bytes=0-4", If_Range=date)).status == 200
        for match in (tag, f'"x", W/{tag}', "*"):
            got = await w.get(name, If_None_Match=match)
            assert (got.status, got.body, got.headers["ETag"]) == (304, b"", tag)
        assert (await w.get(name, If_None_Match='"x"')).status == 200
        assert (await w.get(name, If_Match='"x"')).error == "precondition_failed"
        assert (await w.get(name, If_Match=tag)).status == 200

    run(kit, tmp_path, story)


def test_someone_elses_file_looks_like_one_that_never_was(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        name = await w.upload(DATA)
        for method in ("GET", "HEAD"):
            for extra in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": f'"{name}"'}):
                headers = {**w.auth(kit.BOB), **extra}
                other = await w.ask(method, f"/media/{name}", headers)
                never = await w.ask(method, f"/media/{'0' * 64}", headers)
                assert other.status == never.status == 404
                assert other.body == never.body
                plain = [set(each.headers) for each in (other, never)]
                assert plain[0] == plain[1]
        w.ledger.shared.add((kit.BOB, bytes.fromhex(name)))
        assert (await w.get(name, kit.BOB)).body == DATA

    run(kit, tmp_path, story)


def test_names_that_are_no_hash(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        await w.upload(DATA)
        for name in ("..%2f..%2fkeys%2fmedia.key", "0" * 63, "G" * 64, "0" * 65, "%00", "A" * 64):
            got = await w.ask("GET", f"/media/{name}", w.auth())
            assert (got.status, got.error) == (404, "not_found"), name
        assert w.service.stats.refused["not_found"] == 6

    run(kit, tmp_path, story)


def test_a_lost_blob_is_an_error_and_not_a_short_file(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        name = await w.upload(DATA)
        blob = next(path for path in (tmp_path / "blobs").rglob(name))
        os.truncate(blob, 1000)
        assert (await w.get(name)).error == "unavailable"
        blob.unlink()
        assert (await w.get(name)).error == "unavailable"

    run(kit, tmp_path, story)


def test_a_reader_that_stops_reading_is_cut(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        size = 40 * 1024 * 1024  # more than both sockets' buffers
        name = await w.upload(bytes(size))
        reader, writer = await asyncio.open_connection("127.0.0.1", w.port, limit=1024)
        head = f"GET /media/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {w.token()}\r\n\r\n"
        writer.write(head.encode())
        assert b"200" in await reader.readline()
        # The server gives up by itself: the session's own connection is all that stays.
        await kit.until(lambda: len(w._runner.server.connections) <= 1)
        assert w.service.stats.sent_bytes < size
        writer.transport.abort()

    run(kit, tmp_path, story, http=MediaHttpLimits(idle_timeout_s=0.3))
