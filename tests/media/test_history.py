"""Whatever happens to an upload on its way, what is stored is what was meant."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.actors.chat.media import MediaLimits
from palaver.transport.http.media import MediaHttpLimits

events = st.lists(
    st.tuples(
        st.sampled_from(["send", "cut", "checked", "wrong", "cut checked", "too much", "restart"]),
        st.floats(0, 1),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.sampled_from([1, 17, 5_000, 70_000, 300_000]),
    checkpoint=st.sampled_from([1, 3_000, 10**6]),
    collect=st.sampled_from([1_000, 64_000]),
    events=events,
    seed=st.integers(0, 2**32),
)
def test_any_history_ends_in_the_right_file(
    kit: Any, size: int, checkpoint: int, collect: int, events: list[tuple[str, float]], seed: int
) -> None:
    data = random.Random(seed).randbytes(size)

    async def main(root: Path) -> None:
        limits = MediaLimits(checkpoint_bytes=checkpoint)
        async with kit.world(root, limits=limits, http=MediaHttpLimits(piece_bytes=collect)) as w:
            path = await w.begin(size)
            offset = 0
            for kind, share in events:
                offset = await happen(w, path, offset, kind, share)
                if offset == size:
                    break
            answer = await w.patch(path, offset, data[offset:])
            assert answer.headers["Palaver-File-Id"] == kit.sha(data)
            assert (await w.get(kit.sha(data))).body == data
            assert [each.name for each in (root / "uploads").iterdir()] == [
                path.rsplit("/", 1)[1] + ".json"
            ]
            assert w.service.open_uploads == 0

    async def happen(w: Any, path: str, offset: int, kind: str, share: float) -> int:
        count = int(share * (size - offset))
        piece = data[offset : offset + count]
        least, most = offset, offset
        if kind == "send":
            assert (await w.patch(path, offset, piece)).status == 204
            least = most = offset + count
        elif kind == "checked":
            check = kit.checksum(piece)
            assert (await w.patch(path, offset, piece, Upload_Checksum=check)).status == 204
            least = most = offset + count
        elif kind == "wrong":
            check = kit.checksum(piece + b"x")
            assert (await w.patch(path, offset, piece, Upload_Checksum=check)).status == 460
        elif kind == "too much":
            assert (await w.patch(path, offset, data[offset:] + b"x")).status == 413
        elif kind.startswith("cut"):
            check = {"Upload_Checksum": kit.checksum(piece)} if kind == "cut checked" else {}
            await w.cut(path, offset, piece[: len(piece) // 2], size - offset, **check)
            most = offset if check else offset + len(piece) // 2
        else:
            await w.restart()
        now = await w.offset(path)
        assert least <= now <= most
        return int(now)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
