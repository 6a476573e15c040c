"""Files: resumable uploads and downloads against the real HTTP handlers, with faults between."""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from client_kit import ME, PEER, new_client, run
from client_media_server import MediaServer

from palaver.transport import wire
from palaver.transport.client import (
    ConnectionFailed,
    FileId,
    HashMismatch,
    Misuse,
    NoSuchFile,
    NotOwnAccount,
    QuotaExceeded,
    ServerError,
    Timeouts,
    TooLarge,
    download,
    upload,
)
from palaver.transport.http.media_port import MediaCode, MediaRefused

PIECE = 100_000
CONTENT = random.Random(3).randbytes(5 * PIECE + 17)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload.upload, "__defaults__", (PIECE,))


def test_a_file_goes_up_in_pieces_and_comes_down_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            path = tmp_path / "picture.png"
            path.write_bytes(CONTENT)
            steps: list[tuple[int, int]] = []
            file_id = await client.upload_file("image", path, progress=lambda *s: steps.append(s))
            assert file_id == hashlib.sha256(CONTENT).digest()
            assert steps[-1] == (len(CONTENT), len(CONTENT))
            assert [done for done, _ in steps] == sorted({done for done, _ in steps})
            assert server.media.largest_piece == PIECE
            [(new, _)] = server.media.uploads.values()
            assert (new.media_type, new.name) == ("image/png", "picture.png")

            assert await client.download_file(ME, file_id) == CONTENT
            got: list[tuple[int, int]] = []
            to = await client.download_file(
                ME, file_id, to=tmp_path / "copy", progress=lambda *s: got.append(s)
            )
            assert to.read_bytes() == CONTENT
            assert got[-1] == (len(CONTENT), len(CONTENT))
            assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "picture.png"]
            parts = [chunk async for chunk in client.stream_file(ME, file_id)]
            assert b"".join(parts) == CONTENT
            assert max(map(len, parts)) <= 64 * 1024

    run(main())


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[:PIECE], CONTENT[: 2 * PIECE]])
def test_every_kind_of_source_and_size(content: bytes) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            for source in (content, io.BytesIO(content)):
                file_id = await client.upload_file("application/x-test", source)
                assert file_id == hashlib.sha256(content).digest()
                assert await client.download_file(ME, file_id) == content

    run(main())


@pytest.mark.parametrize("fault", ["cut before", "cut after", "503", "502"])
def test_an_upload_goes_on_where_the_server_has_it(fault: str) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            chance = random.Random(5)

            def now_and_then(request: web.Request) -> str | None:
                return fault if request.path != "/ws" and chance.random() < 0.3 else None

            server.fault = now_and_then
            file_id = await client.upload_file("file", CONTENT)
            assert file_id == hashlib.sha256(CONTENT).digest()
            assert server.media.files[file_id] == CONTENT
            assert any(method == "HEAD" for method, _ in server.seen)
            assert await client.download_file(ME, file_id) == CONTENT

    run(main())


def test_an_upload_that_the_server_forgot_begins_anew() -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            pieces = 0

            def forget_once() -> None:
                nonlocal pieces
                pieces += 1
                if pieces == 3:
                    server.media.uploads.clear()
                    raise MediaRefused(MediaCode.UPLOAD_EXPIRED, "too late")

            server.media.on_piece = forget_once
            file_id = await client.upload_file("file", CONTENT)
            assert server.media.files[file_id] == CONTENT

    run(main())


def test_an_expired_token_is_renewed() -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            file_id = await client.upload_file("file", b"content")
            server.media.token = "renew1-token"
            assert await client.download_file(ME, file_id) == b"content"

    run(main())


@pytest.mark.parametrize("answer", ["nothing", "unavailable"])
def test_a_token_that_does_not_come_is_a_failed_try(answer: str) -> None:
    async def main() -> None:
        async with MediaServer() as server:
            asked = 0

            def refuse(op: wire.Request) -> bytes | None:
                nonlocal asked
                if not isinstance(op, wire.Token):
                    return None
                asked += 1
                if asked > 2:
                    return None
                if answer == "nothing":
                    return b""
                return wire.error(op.id, wire.ErrorCode.UNAVAILABLE, "restarting")

            server.model.refuse = refuse
            timeouts = Timeouts(ping_s=5.0, close_s=1.0, request_s=0.05)
            async with new_client(server, timeouts=timeouts) as client:
                file_id = await client.upload_file("file", CONTENT)
                assert server.media.files[file_id] == CONTENT
                assert asked == 3

    run(main())


def test_refusals_are_typed() -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            with pytest.raises(NoSuchFile):
                await client.download_file(ME, FileId(bytes(32)))
            with pytest.raises(NotOwnAccount):
                await client.download_file(PEER, FileId(bytes(32)))
            with pytest.raises(FileNotFoundError):
                await client.upload_file("file", "/no/such/file")
            server.media.max_file_bytes = 3
            with pytest.raises(QuotaExceeded):
                await client.upload_file("file", b"four")
            server.fault = lambda request: "503" if request.method == "POST" else None
            with pytest.raises(ServerError):
                await client.upload_file("file", b"x")
            server.fault = lambda request: "cut before" if request.method == "POST" else None
            with pytest.raises(ConnectionFailed):
                await client.upload_file("file", b"x")

    run(main())


def test_ranges(tmp_path: Path) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            file_id = await client.upload_file("file", CONTENT)
            for wanted in ((0, 10), (5, None), (100, 200_000), (len(CONTENT) - 1, 10**9)):
                expected = CONTENT[wanted[0] : wanted[1]]
                assert await client.download_file(ME, file_id, range=wanted) == expected
            to = await client.download_file(ME, file_id, range=(7, 70), to=tmp_path / "part")
            assert to.read_bytes() == CONTENT[7:70]
            with pytest.raises(ServerError, match="range"):
                await client.download_file(ME, file_id, range=(len(CONTENT), None))
            for wrong in ((-1, 5), (5, 5), (6, 5)):
                with pytest.raises(Misuse):
                    await client.download_file(ME, file_id, range=wrong)

    run(main())


def test_a_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            file_id = await client.upload_file("file", CONTENT)
            server.media.break_after = [100_000, 50_000, 150_000]
            to = await client.download_file(ME, file_id, to=tmp_path / "copy")
            assert to.read_bytes() == CONTENT
            server.media.break_after = [200_000]
            assert await client.download_file(ME, file_id, range=(9, 300_000)) == CONTENT[9:300_000]

    run(main())


def test_a_part_of_an_earlier_program_is_used_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            file_id = await client.upload_file("file", CONTENT)
            server.media.break_after = [250_000] + [0] * 20
            with pytest.raises(ConnectionFailed):
                await client.download_file(ME, file_id, to=tmp_path / "copy")
            [part] = tmp_path.iterdir()
            assert part.name.endswith(".part")
            had = part.stat().st_size
            assert 0 < had < len(CONTENT)
            server.media.break_after.clear()
            first: list[int] = []
            await client.download_file(
                ME, file_id, to=tmp_path / "copy", progress=lambda done, _: first.append(done)
            )
            assert first[0] > had
            assert (tmp_path / "copy").read_bytes() == CONTENT
            # A whole part, not yet renamed: nothing is fetched but its length.
            (tmp_path / "copy").rename(part)
            await client.download_file(ME, file_id, to=tmp_path / "copy")
            assert (tmp_path / "copy").read_bytes() == CONTENT

    run(main())


def test_what_is_not_the_file_is_not_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            file_id = await client.upload_file("file", CONTENT)
            server.media.corrupt = True
            with pytest.raises(HashMismatch):
                await client.download_file(ME, file_id, to=tmp_path / "copy")
            assert list(tmp_path.iterdir()) == []
            with pytest.raises(HashMismatch):
                await client.download_file(ME, file_id)

    run(main())


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            file_id = await client.upload_file("file", CONTENT)
            monkeypatch.setattr(download, "MAX_IN_MEMORY_BYTES", 1000)
            with pytest.raises(TooLarge):
                await client.download_file(ME, file_id)

    run(main())


def test_a_document_is_uploaded_and_sent(tmp_path: Path) -> None:
    async def main() -> None:
        async with MediaServer() as server, new_client(server) as client:
            path = tmp_path / "note.txt"
            path.write_bytes(b"note")
            await client.send_message(ME, PEER, "file", text="see this", doc=path)
            op: Any = server.model.stored[-1][1]
            assert (op.body, op.file) == (b"see this", hashlib.sha256(b"note").digest())

    run(main())
