from __future__ import annotations

import asyncio
import errno
import hashlib
import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from palaver.storage import blob_local
from palaver.storage.blobs import CHUNK_BYTES, BlobError, BlobMissing, BlobStore

DATA = os.urandom(3 * 1024 * 1024 + 77)
HASH = hashlib.sha256(DATA).digest()
LARGE = os.urandom(20 * 1024 * 1024 + 5)


def s3_server() -> Any:
    spec = importlib.util.spec_from_file_location("s3", Path(__file__).with_name("s3_server.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.S3Server()


@asynccontextmanager
async def engine(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[BlobStore, Any]]:
    if kind == "s3":
        server = s3_server()
        runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_SKIP_SIGNATURE": "true",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield BlobStore.open("s3://bucket/chat/media"), server
        await runner.cleanup()
    else:
        where = {"memory": "memory:///", "local": tmp_path / "b", "url": (tmp_path / "b").as_uri()}
        yield BlobStore.open(where[kind]), None


async def collect(store: BlobStore, sha256: bytes, start: int, end: int) -> bytes:
    chunks = [chunk async for chunk in store.open_range(sha256, start, end)]
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)
    return b"".join(chunks)


@pytest.mark.parametrize("kind", ["local", "url", "memory", "s3"])
def test_every_engine_keeps_content_by_hash(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)

    async def main() -> None:
        async with engine(kind, tmp_path, monkeypatch) as (store, _):
            assert await store.size(HASH) is None
            assert not await store.exists(HASH)
            await store.delete(HASH)
            await store.put_file(source, HASH)
            await store.put_file(source, HASH)
            source.unlink()
            assert await store.size(HASH) == len(DATA)
            for start, end in (
                (0, len(DATA)),
                (0, 1),
                (5, 5),
                (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
                (len(DATA) - 3, len(DATA)),
            ):
                assert await collect(store, HASH, start, end) == DATA[start:end]
            with pytest.raises(BlobError):
                await collect(store, HASH, 0, len(DATA) + 1)
            with pytest.raises(ValueError, match="not a range"):
                await collect(store, HASH, 3, 2)
            await store.delete(HASH)
            assert not await store.exists(HASH)
            with pytest.raises(BlobMissing):
                await collect(store, HASH, 0, 10)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_store_tells_what_is_in_it_and_of_nothing_else(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with engine(kind, tmp_path, monkeypatch) as (store, _):
            assert [each async for each in store.hashes()] == []
            stored = set()
            for number in range(1003):  # more than are listed at once
                source = tmp_path / "source"
                source.write_bytes(b"%d" % number)
                digest = hashlib.sha256(source.read_bytes()).digest()
                await store.put_file(source, digest)
                source.unlink()
                stored.add(digest)
            if kind == "local":
                (tmp_path / "b" / "README").write_text("not a blob")
                (tmp_path / "b" / f"{'a' * 64}.x.tmp").write_text("nor is this")
            found = [each async for each in store.hashes()]
            assert len(found) == len(stored)
            assert set(found) == stored

    # What is durable is another test's question.
    monkeypatch.setattr(blob_local, "sync_path", lambda _path: None)
    asyncio.run(main())


def test_a_large_file_goes_to_s3_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    digest = hashlib.sha256(LARGE).digest()

    async def main() -> None:
        async with engine("s3", tmp_path, monkeypatch) as (store, server):
            await store.put_file(source, digest)
            name = digest.hex()
            assert list(server.objects) == [f"chat/media/{name[:2]}/{name[2:4]}/{name}"]
            assert server.parts_seen == 3
            assert server.largest_body == 8 * 1024 * 1024
            assert await collect(store, digest, 1, len(LARGE)) == LARGE[1:]
            server.failing = True
            for call in (store.size(digest), store.put_file(source, HASH), store.delete(digest)):
                with pytest.raises(BlobError):
                    await call

    asyncio.run(main())


def test_a_url_of_no_engine_is_an_error() -> None:
    with pytest.raises(BlobError, match="gopher"):
        BlobStore.open("gopher://x/y")


def test_the_path_is_made_of_the_hash_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    store = BlobStore.open(tmp_path / "blobs")
    asyncio.run(store.put_file(source, HASH))
    name = HASH.hex()
    found = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert found == [tmp_path / "blobs" / name[:2] / name[2:4] / name]
    with pytest.raises(ValueError, match="32 bytes"):
        asyncio.run(store.put_file(source, b"short"))


def test_data_and_folders_are_synced_before_a_blob_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_link = blob_local.sync_path, os.link

    def sync(path: Path) -> None:
        steps.append(f"sync {path.relative_to(tmp_path)}")
        real_sync(path)

    def link(source: Path, target: Path) -> None:
        steps.append("link")
        real_link(source, target)

    monkeypatch.setattr(blob_local, "sync_path", sync)
    monkeypatch.setattr(os, "link", link)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    (tmp_path / "blobs").mkdir()
    blob_local.put_durably(source, tmp_path / "blobs", blob_local.blob_path(HASH))
    one, two = HASH.hex()[:2], HASH.hex()[2:4]
    assert steps == [
        "sync source",
        "sync blobs",
        f"sync blobs/{one}",
        "link",
        f"sync blobs/{one}/{two}",
    ]
    blob_local.put_durably(source, tmp_path / "blobs", blob_local.blob_path(HASH))
    assert steps[5:] == ["sync source", "link", f"sync blobs/{one}/{two}"]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
def test_without_links_the_content_is_copied(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    store = BlobStore.open(tmp_path / "blobs")
    asyncio.run(store.put_file(source, HASH))
    source.write_bytes(b"changed")
    assert asyncio.run(collect(store, HASH, 0, len(DATA))) == DATA
    assert list((tmp_path / "blobs").rglob("*.tmp")) == []


def test_a_disk_that_refuses_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = tmp_path / "source"
    source.write_bytes(DATA)
    store = BlobStore.open(tmp_path / "blobs")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(BlobError, match="No space"):
            asyncio.run(store.put_file(source, HASH))
    assert not asyncio.run(store.exists(HASH))
    asyncio.run(store.put_file(source, HASH))
    assert asyncio.run(store.size(HASH)) == len(DATA)


def test_a_truncated_blob_is_replaced_by_the_next_upload(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    store = BlobStore.open(tmp_path / "blobs")
    target = tmp_path / "blobs" / blob_local.blob_path(HASH)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"half")
    asyncio.run(store.put_file(source, HASH))
    assert target.read_bytes() == DATA
