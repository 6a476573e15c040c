from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import threading
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from palaver.actors.chat.media import MediaLimits
from palaver.actors.chat.media_files import UploadFolder
from palaver.transport.http.media import MediaHttpLimits
from palaver.transport.http.media_port import Checksum

DATA = os.urandom(700_000)


def run(kit: Any, root: Path, story: Any, **options: Any) -> None:
    async def main() -> None:
        async with kit.world(root, **options) as world:
            await story(world)

    asyncio.run(main())


def test_options_tells_what_the_server_can(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        answer = await w.ask("OPTIONS", "/media/uploads", {})
        assert answer.status == 204
        assert answer.headers["Tus-Version"] == "1.0.0"
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert answer.headers["Tus-Extension"] == "creation,expiration,checksum,termination"
        assert answer.headers["Tus-Max-Size"] == str(2 * 1024**3)
        assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"

    run(kit, tmp_path, story)


def test_an_upload_in_pieces_becomes_a_file(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        metadata = kit.pairs(filename="holiday ☀️.jpg", filetype="image/JPEG")
        made = await w.create(len(DATA), metadata=metadata)
        assert made.status == 201
        path = made.headers["Location"]
        assert made.headers["Upload-Offset"] == "0"
        expires = parsedate_to_datetime(made.headers["Upload-Expires"])
        assert int(expires.timestamp()) == (w.clock.now_ms + 24 * 3_600_000) // 1000

        first = await w.patch(path, 0, DATA[:100])
        assert (first.status, first.headers["Upload-Offset"]) == (204, "100")
        assert "Palaver-File-Id" not in first.headers
        seen = await w.head(path)
        assert seen.headers["Upload-Offset"] == "100"
        assert seen.headers["Upload-Length"] == str(len(DATA))
        assert seen.headers["Upload-Metadata"] == metadata
        assert seen.headers["Cache-Control"] == "no-store"

        last = await w.patch(path, 100, DATA[100:])
        assert last.status == 204
        assert last.headers["Palaver-File-Id"] == kit.sha(DATA)
        assert (await w.head(path)).headers["Palaver-File-Id"] == kit.sha(DATA)
        assert list((tmp_path / "uploads").glob("*.part")) == []

        got = await w.get(kit.sha(DATA))
        assert (got.status, got.body, got.headers["Content-Type"]) == (200, DATA, "image/jpeg")

    run(kit, tmp_path, story)


def test_an_empty_file_is_finished_when_it_is_created(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        made = await w.create(0)
        assert made.headers["Palaver-File-Id"] == kit.sha(b"")
        got = await w.get(kit.sha(b""))
        assert (got.status, got.body) == (200, b"")
        assert (await w.get(kit.sha(b""), Range="bytes=0-")).status == 416

    run(kit, tmp_path, story)


def test_a_cut_connection_keeps_what_arrived(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(len(DATA))
        _, writer = await w.half(path, 0, DATA[:600_000], len(DATA))
        await kit.until(lambda: w.service.stats.received_bytes >= 256 * 1024)
        writer.transport.abort()
        await w.until_free(path)
        kept = await w.offset(path)
        assert 256 * 1024 <= kept <= 600_000
        last = await w.patch(path, kept, DATA[kept:])
        assert last.headers["Palaver-File-Id"] == kit.sha(DATA)

    run(kit, tmp_path, story)


def test_a_silent_sender_is_dropped_and_its_bytes_are_kept(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(len(DATA))
        reader, writer = await w.half(path, 0, DATA[:1000], len(DATA))
        assert b"408" in await reader.readline()
        writer.transport.abort()
        assert await w.offset(path) == 1000
        assert w.service.stats.refused["timeout"] == 1

    run(kit, tmp_path, story, http=MediaHttpLimits(idle_timeout_s=0.2))


def test_an_upload_goes_on_after_a_restart(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(len(DATA), filetype="video/mp4")
        await w.patch(path, 0, DATA[:300_000])
        await w.restart()
        assert await w.offset(path) == 300_000
        last = await w.patch(path, 300_000, DATA[300_000:])
        assert last.headers["Palaver-File-Id"] == kit.sha(DATA)
        assert (await w.get(kit.sha(DATA))).headers["Content-Type"] == "video/mp4"
        await w.restart()
        assert (await w.head(path)).headers["Palaver-File-Id"] == kit.sha(DATA)
        assert (await w.get(kit.sha(DATA))).body == DATA

    run(kit, tmp_path, story)


def test_bytes_that_were_not_yet_durable_are_not_believed(kit: Any, tmp_path: Path) -> None:
    """A crash may leave more in the part file than was ever answered; it may be anything."""

    async def story(w: Any) -> None:
        path = await w.begin(len(DATA))
        await w.patch(path, 0, DATA[:1000])
        await w.stop()
        part = tmp_path / "uploads" / (path.rsplit("/", 1)[1] + ".part")
        with part.open("ab") as file:
            file.write(b"\0" * (len(DATA) + 5000))
        await w.start()
        assert await w.offset(path) == 1000
        last = await w.patch(path, 1000, DATA[1000:])
        assert last.headers["Palaver-File-Id"] == kit.sha(DATA)
        assert (await w.get(kit.sha(DATA))).body == DATA

    run(kit, tmp_path, story)


def test_damaged_leftovers_are_cleared_and_disturb_nobody(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        good = await w.begin(10)
        short = await w.begin(10)
        await w.patch(good, 0, b"12345")
        await w.patch(short, 0, b"12345")
        await w.stop()
        uploads = tmp_path / "uploads"
        os.truncate(uploads / (short.rsplit("/", 1)[1] + ".part"), 2)
        (uploads / ("0" * 32 + ".json")).write_text('{"half')
        (uploads / ("1" * 32 + ".json")).write_text('{"unknown": 1}')
        (uploads / ("2" * 32 + ".part")).write_bytes(b"x")
        (uploads / ("3" * 32 + ".tmp")).write_bytes(b"x")
        await w.start()
        assert w.service.stats.records_damaged == 3
        assert (await w.head(short)).status == 404
        assert await w.offset(good) == 5
        kept = {path.suffix for path in uploads.iterdir()}
        assert len(list(uploads.iterdir())) == 2
        assert kept == {".json", ".part"}

    run(kit, tmp_path, story)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_with_a_wrong_checksum_is_discarded(
    kit: Any, tmp_path: Path, algorithm: str
) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(len(DATA))
        good = kit.checksum(DATA[:1000], algorithm)
        assert (await w.patch(path, 0, DATA[:1000], Upload_Checksum=good)).status == 204
        bad = kit.checksum(b"other", algorithm)
        wrong = await w.patch(path, 1000, DATA[1000:], Upload_Checksum=bad)
        assert (wrong.status, wrong.error) == (460, "checksum_mismatch")
        assert await w.offset(path) == 1000
        rest = kit.checksum(DATA[1000:], algorithm)
        last = await w.patch(path, 1000, DATA[1000:], Upload_Checksum=rest)
        assert last.headers["Palaver-File-Id"] == kit.sha(DATA)

    # A tiny checkpoint distance: nothing unchecked may become durable on the way.
    run(kit, tmp_path, story, limits=MediaLimits(checkpoint_bytes=1000))


def test_part_of_a_piece_with_a_checksum_is_not_kept(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(len(DATA))
        await w.patch(path, 0, DATA[:10])
        check = kit.checksum(DATA[10:])
        _, writer = await w.half(path, 10, DATA[10:500_000], len(DATA) - 10, Upload_Checksum=check)
        await kit.until(lambda: w.service.stats.received_bytes > 10)
        record = tmp_path / "uploads" / (path.rsplit("/", 1)[1] + ".json")
        assert json.loads(record.read_text())["offset_bytes"] == 10
        writer.transport.abort()
        await w.until_free(path)
        assert await w.offset(path) == 10
        last = await w.patch(path, 10, DATA[10:], Upload_Checksum=check)
        assert last.headers["Palaver-File-Id"] == kit.sha(DATA)

    run(kit, tmp_path, story, limits=MediaLimits(checkpoint_bytes=1000))


def test_content_with_another_hash_than_announced_is_refused(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(5, sha256=kit.sha(b"hello"))
        assert (await w.patch(path, 0, b"hullo")).error == "checksum_mismatch"
        assert (await w.head(path)).status == 404
        assert (await w.get(kit.sha(b"hullo"))).status == 404
        path = await w.begin(5, sha256=kit.sha(b"hello"))
        assert (await w.patch(path, 0, b"hello")).status == 204

    run(kit, tmp_path, story)


def test_an_upload_expires(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(1000)
        done = await w.upload(b"done")
        await w.patch(path, 0, b"12345")
        w.clock.now_ms += 60_000 - 1
        assert await w.service.sweep(w.clock.now_ms) == 0
        assert (await w.head(path)).status == 200
        w.clock.now_ms += 1
        token = w.tus()
        assert (await w.ask("HEAD", path, token)).status == 410
        late = await w.patch(path, 5, b"678")
        assert (late.status, late.error) == (410, "upload_expired")
        await w.restart()  # the clock of an upload goes on while the node is down
        assert (await w.head(path)).status == 410
        assert await w.service.sweep(w.clock.now_ms) == 2
        assert (await w.head(path)).status == 404
        assert list((tmp_path / "uploads").iterdir()) == []
        assert w.service.stats.uploads_expired == 1
        assert w.service.open_uploads == 0
        assert (await w.get(done)).body == b"done"

    run(kit, tmp_path, story, limits=MediaLimits(upload_ttl_s=60))


def test_an_upload_in_use_does_not_expire(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(10)
        reader, writer = await w.half(path, 0, b"12345", 10)
        await kit.until(lambda: any(each.busy for each in w.service._book))
        w.clock.now_ms += 61_000
        assert await w.service.sweep(w.clock.now_ms) == 0
        writer.write(b"67890")
        assert b"204" in await reader.readline()
        writer.transport.abort()
        assert (await w.get(kit.sha(b"1234567890"))).status == 200

    run(kit, tmp_path, story, limits=MediaLimits(upload_ttl_s=60))


def test_termination_frees_what_the_upload_held(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(80)
        assert (await w.create(80)).error == "quota"
        assert (await w.ask("DELETE", path, w.tus(kit.BOB))).status == 404
        assert (await w.ask("DELETE", path, w.tus())).status == 204
        assert (await w.ask("DELETE", path, w.tus())).status == 404
        assert (await w.head(path)).status == 404
        assert list((tmp_path / "uploads").iterdir()) == []
        assert (await w.create(80)).status == 201

    run(kit, tmp_path, story, limits=MediaLimits(quota_bytes=100))


def test_size_and_quota_are_checked_before_any_byte(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        large = await w.create(1001)
        assert (large.status, large.error) == (413, "too_large")
        await w.upload(os.urandom(900))
        path = await w.begin(600)
        full = await w.create(1)
        assert (full.status, full.error) == (507, "quota")
        assert (await w.create(1000, kit.BOB)).status == 201
        await w.restart()  # reservations are as durable as uploads
        assert (await w.create(1)).error == "quota"
        assert (await w.patch(path, 0, os.urandom(600))).status == 204
        assert (await w.create(1)).error == "quota"
        assert w.service.stats.refused["quota"] == 2

    run(kit, tmp_path, story, limits=MediaLimits(max_file_bytes=1000, quota_bytes=1500))


def test_requests_at_once_cannot_take_the_same_room(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        answers = await asyncio.gather(*(w.create(30) for _ in range(8)))
        assert sorted(each.status for each in answers) == [201] * 3 + [507] * 5

    run(kit, tmp_path, story, limits=MediaLimits(quota_bytes=100))


def test_the_same_content_is_stored_once_and_counted_once(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        data = os.urandom(600)
        assert await w.upload(data) == await w.upload(data)
        assert await w.upload(data, kit.BOB) == kit.sha(data)
        assert await w.ledger.used_bytes(kit.ALICE) == 600
        assert (await w.create(400)).status == 201
        files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
        assert [path.name for path in files] == [kit.sha(data)]
        assert files[0].stat().st_nlink == 1

    run(kit, tmp_path, story, limits=MediaLimits(quota_bytes=1200))


def test_open_uploads_are_bounded(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        for _ in range(3):
            await w.upload(os.urandom(10))
        paths = [await w.begin(10), await w.begin(10)]
        many = await w.create(10)
        assert (many.status, many.error) == (429, "too_many")
        assert (await w.create(10, kit.BOB)).status == 201
        assert (await w.create(10, kit.BOB)).error == "overloaded"
        assert (await w.patch(paths[0], 0, b"0123456789")).status == 204
        assert (await w.create(10)).status == 201
        # Of the finished ones as many are remembered as may be open.
        remembered = [each for each in w.service._book if each.record.stored]
        assert len(remembered) == 2

    run(kit, tmp_path, story, limits=MediaLimits(max_open_uploads=2, max_uploads=3))


def test_one_patch_at_a_time(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(10)
        reader, writer = await w.half(path, 0, b"12345", 10)
        await kit.until(lambda: any(each.busy for each in w.service._book))
        second = await w.patch(path, 0, b"x")
        assert (second.status, second.error) == (423, "upload_busy")
        assert (await w.ask("DELETE", path, w.tus())).status == 423
        assert (await w.head(path)).status == 200
        writer.write(b"67890")
        assert b"204" in await reader.readline()
        writer.transport.abort()

    run(kit, tmp_path, story)


def test_transfers_at_once_are_bounded(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path, other = await w.begin(10), await w.begin(10)
        _, writer = await w.half(path, 0, b"12345", 10)
        await kit.until(lambda: any(each.busy for each in w.service._book))
        assert (await w.patch(other, 0, b"x")).error == "too_many"
        writer.transport.abort()
        await w.until_free(path)
        assert (await w.patch(other, 0, b"x")).status == 204

    run(kit, tmp_path, story, http=MediaHttpLimits(max_transfers_per_account=1))


def test_wrong_requests_get_their_codes(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(10)
        offset = await w.patch(path, 3, b"x")
        assert (offset.status, offset.error) == (409, "wrong_offset")
        kind = await w.patch(path, 0, b"x", Content_Type="application/octet-stream")
        assert (kind.status, kind.error) == (415, "wrong_content_type")
        version = await w.patch(path, 0, b"x", Tus_Resumable="0.2.2")
        assert (version.status, version.error) == (412, "unsupported_version")
        assert version.headers["Tus-Version"] == "1.0.0"
        assert (await w.patch(path, 0, b"x" * 11)).error == "too_large"
        for text in ("-1", "1.0", "x", "", "9" * 40, "\u0661"):
            assert (await w.patch(path, 0, b"x", Upload_Offset=text)).error == "bad_request", text
        for text in ("md5 AAAA", "sha256", "sha256 AAAA", "sha1 !!!!"):
            assert (await w.patch(path, 0, b"x", Upload_Checksum=text)).error == "bad_request"
        assert await w.offset(path) == 0
        assert (await w.patch("/media/uploads/" + "0" * 32, 0, b"x")).error == "no_such_upload"
        assert (await w.patch(path, 0, b"x", kit.BOB)).error == "no_such_upload"
        assert (await w.head(path, kit.BOB)).status == 404
        for bad in ("/media/uploads/..%2f..%2fetc%2fpasswd", "/media/uploads/%00", "/media/"):
            assert (await w.ask("PATCH", bad, w.tus(), b"x")).error == "not_found"
        odd = await w.ask("PUT", path, w.tus(), b"x")
        assert (odd.status, odd.error) == (405, "method_not_allowed")
        assert "PATCH" in odd.headers["Allow"]
        zipped = await w.patch(path, 0, b"x", Content_Encoding="br")
        assert zipped.status in {400, 415}
        assert await w.offset(path) == 0

    run(kit, tmp_path, story)


def test_a_body_without_a_length_cannot_outgrow_the_upload(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        async def chunks(total: int) -> Any:
            for at in range(0, total, 1000):
                yield b"x" * min(1000, total - at)

        path = await w.begin(500_000)
        over = await w.patch(path, 0, chunks(500_001))
        assert (over.status, over.error) == (413, "too_large")
        assert await w.offset(path) == 0
        last = await w.patch(path, 0, chunks(500_000))
        assert last.headers["Palaver-File-Id"] == kit.sha(b"x" * 500_000)

    run(kit, tmp_path, story, limits=MediaLimits(checkpoint_bytes=1000))


def test_creation_refuses_wrong_headers(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        for length in ("", "-1", "1e3", "0x10", "9" * 30):
            headers = {**w.tus(), "Upload-Length": length}
            assert (await w.ask("POST", "/media/uploads", headers)).error == "bad_request"
        assert (await w.ask("POST", "/media/uploads", w.tus())).error == "bad_request"
        assert (await w.create(1, **{"Upload-Defer-Length": "1"})).error == "bad_request"
        body = await w.ask("POST", "/media/uploads", {**w.tus(), "Upload-Length": "1"}, b"x")
        assert body.error == "bad_request"
        for name in ("../../etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b", "a\nb", "a\u202eb"):
            answer = await w.create(1, metadata=kit.pairs(filename=name))
            assert (answer.status, answer.error) == (400, "bad_request"), name
        for raw in (b"\xff\xfe", b"x" * 256):
            assert (await w.create(1, metadata=kit.pairs(filename=raw))).error == "bad_request"
        for kind in ("image", "image/png; q=1", "a/b/c", "text/\n", "é/x", "x/" + "y" * 200):
            assert (await w.create(1, metadata=kit.pairs(filetype=kind))).error == "bad_request"
        for text in ("filename", "filename a b", "filename !", "a YQ==,a YQ==", ",", "x" * 5000):
            answer = await w.create(1, metadata=text)
            assert answer.error == "bad_request", text
        assert (await w.create(1, metadata=kit.pairs(sha256="abc"))).error == "bad_request"
        assert {path.parent for path in tmp_path.rglob("*.json")} <= {tmp_path / "uploads"}

    run(kit, tmp_path, story)


def test_who_asks_must_be_known(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(10)
        good = w.token()
        forged = good[:-2] + ("AA" if good[-2:] != "AA" else "BB")
        wrong = ("", "Bearer", "Bearer ", "Basic abc", f"Bearer {forged}", "Bearer " + "x" * 2000)
        asked = (("HEAD", path), ("POST", "/media/uploads"), ("GET", "/media/" + "0" * 64))
        for header in wrong:
            headers = {**w.tus(), "Authorization": header}
            for method, where in asked:
                answer = await w.ask(method, where, headers)
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        w.revoked.add((kit.ALICE, 1))
        assert (await w.head(path)).status == 401
        w.revoked.clear()
        headers = w.tus()
        w.clock.now_ms += 3_600_000
        assert (await w.ask("HEAD", path, headers)).status == 401

    run(kit, tmp_path, story)


def test_a_method_may_be_overridden(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(5)
        headers = {**w.tus(), "Upload-Offset": "0", "Content-Type": kit.PIECE}
        answer = await w.ask("POST", path, {**headers, "X-HTTP-Method-Override": "PATCH"}, b"hel")
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, "3")
        answer = await w.ask("POST", path, {**w.tus(), "X-HTTP-Method-Override": "DELETE"})
        assert answer.status == 204
        assert (await w.ask("POST", path, w.tus())).status == 405

    run(kit, tmp_path, story)


def test_the_go_ahead_comes_after_the_checks(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(5)
        reader, writer = await w.half(path, 0, b"", 5, Expect="100-continue")
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")
        assert b"204" in await reader.readline()
        writer.transport.abort()
        reader, writer = await w.half(path, 3, b"", 5, Expect="100-continue")
        assert b"409" in await reader.readline()
        writer.transport.abort()

    run(kit, tmp_path, story)


def test_a_file_that_could_not_be_stored_is_stored_later(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(5)
        blobs = tmp_path / "blobs"
        blobs.rename(tmp_path / "away")
        blobs.write_bytes(b"in the way")
        failed = await w.patch(path, 0, b"hello")
        assert (failed.status, failed.error) == (503, "unavailable")
        assert (await w.patch(path, 5, b"")).error == "unavailable"
        blobs.unlink()
        (tmp_path / "away").rename(blobs)
        answer = await w.patch(path, 5, b"")
        assert answer.headers["Palaver-File-Id"] == kit.sha(b"hello")
        assert (await w.get(kit.sha(b"hello"))).body == b"hello"

    run(kit, tmp_path, story)


def test_a_start_finishes_what_a_crash_left_between_two_steps(kit: Any, tmp_path: Path) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(5)
        w.ledger.failing = RuntimeError("down")
        failed = await w.patch(path, 0, b"hello")
        assert (failed.status, failed.error) == (500, "internal")
        assert (await w.get(kit.sha(b"hello"))).status == 404
        w.ledger.failing = None
        await w.restart()
        await kit.until(lambda: w.service.open_uploads == 0)
        assert (await w.get(kit.sha(b"hello"))).body == b"hello"
        assert (await w.head(path)).headers["Palaver-File-Id"] == kit.sha(b"hello")

    run(kit, tmp_path, story)


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: Any) -> None:
        path = await w.begin(len(DATA))
        await w.patch(path, 0, DATA[:1000])
        real, left = os.pwrite, [2]

        def nearly_full(descriptor: int, data: Any, at: int) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(descriptor, data[:100_000], at)

        monkeypatch.setattr(os, "pwrite", nearly_full)
        full = await w.patch(path, 1000, DATA[1000:])
        assert (full.status, full.error) == (507, "no_space")
        monkeypatch.undo()
        offset = await w.offset(path)
        assert 1000 <= offset <= 201_000
        last = await w.patch(path, offset, DATA[offset:])
        assert last.headers["Palaver-File-Id"] == kit.sha(DATA)

    run(kit, tmp_path, story)


def test_an_upload_that_cannot_begin_holds_nothing(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: Any) -> None:
        def refuse(folder: Any, record: Any) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(UploadFolder, "create", refuse)
        failed = await w.create(100)
        assert (failed.status, failed.error) == (503, "unavailable")
        monkeypatch.undo()
        assert w.service.open_uploads == 0
        assert (await w.create(100)).status == 201

    run(kit, tmp_path, story, limits=MediaLimits(quota_bytes=100))


def test_a_cancelled_request_leaves_the_upload_free_and_right(kit: Any, tmp_path: Path) -> None:
    """Whenever a handler is cancelled, the upload can go on and ends in the right file."""

    async def story(w: Any) -> None:
        for turns in range(24):
            data = os.urandom(5000)
            checked = Checksum("sha256", hashlib.sha256(data).digest())
            for checksum in (None, checked):
                path = await w.begin(len(data))
                upload_id = path.rsplit("/", 1)[1]
                task = asyncio.create_task(patch(w, upload_id, data, checksum))
                for _ in range(turns):
                    await asyncio.sleep(0)
                    if turns % 4 == 0:
                        await asyncio.sleep(0.0002)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                upload = w.find(path)
                await kit.until(lambda upload=upload: not upload.busy)
                offset = await w.offset(path)
                if checksum is not None:
                    assert offset in {0, len(data)}
                last = await w.patch(path, offset, data[offset:])
                assert last.headers["Palaver-File-Id"] == kit.sha(data)
                assert (await w.get(kit.sha(data))).body == data

    async def patch(w: Any, upload_id: str, data: bytes, checksum: Any) -> None:
        piece = await w.service.begin_piece(kit.ALICE, upload_id, 0, len(data), checksum)
        try:
            for at in range(0, len(data), 1000):
                await piece.write(data[at : at + 1000])
            await piece.finish()
        finally:
            await piece.release()

    run(kit, tmp_path, story, limits=MediaLimits(checkpoint_bytes=2000))


@pytest.mark.parametrize("then", ["release", "discard"])
def test_cancelled_while_the_record_is_written(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """The record on disk may be ahead of what the cancelled caller knows."""
    go, saving, real = threading.Event(), threading.Event(), UploadFolder.save

    def slow_save(folder: UploadFolder, record: Any) -> None:
        saving.set()
        assert go.wait(20)
        real(folder, record)

    async def story(w: Any) -> None:
        path = await w.begin(1000)
        upload_id, data = path.rsplit("/", 1)[1], os.urandom(500)
        check = Checksum("sha256", hashlib.sha256(data).digest()) if then == "release" else None
        piece = await w.service.begin_piece(kit.ALICE, upload_id, 0, 500, check)
        monkeypatch.setattr(UploadFolder, "save", slow_save)
        if check is None:
            task = asyncio.create_task(piece.write(data))
        else:
            await piece.write(data)
            task = asyncio.create_task(piece.finish())
        await kit.until(saving.is_set)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        go.set()
        await (piece.release() if then == "release" else piece.discard())
        await piece.release()
        kept = 500 if then == "release" else 0
        assert await w.offset(path) == kept
        await w.restart()
        assert await w.offset(path) == kept

    run(kit, tmp_path, story, limits=MediaLimits(checkpoint_bytes=1))
