"""The OS process of an engine in Python: ENGINE FOLDER RECORDS.

It reads jobs from standard input, `WORK COUNT WIDTH LIMIT_MS` a line, and answers each with a line
of JSON: the result, or {"failed": why}. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palaver.supervisors.cli.bench.runtime.results import WorkFailed
from palaver.supervisors.cli.bench.tables.adapter import Adapter, Job, Make
from palaver.supervisors.cli.bench.tables.works import WORKS, fill

WITHOUT_FILLING = ("start", "bulk_load")
"""Works that begin with an engine that is not open, or is empty."""


def maker_of(engine: str) -> Make:
    """Return what makes an engine's adapter.

    Raises:
        WorkFailed: there is no such engine.
    """
    # Each is imported only where it is used: its modules would weigh on the others' memory.
    if engine == "palaver":
        from palaver.supervisors.cli.bench.tables.tables_adapter import TablesAdapter

        return TablesAdapter
    if engine in ("lmdb", "lmdb_cbor"):
        from palaver.supervisors.cli.bench.tables import lmdb_adapter

        return lmdb_adapter.LmdbAdapter if engine == "lmdb" else lmdb_adapter.LmdbCborAdapter
    if engine == "sqlite":
        from palaver.supervisors.cli.bench.tables.sqlite_adapter import SqliteAdapter

        return SqliteAdapter
    raise WorkFailed(f"no engine is named {engine!r}")


class Server:
    """Does one job after the other on one engine."""

    def __init__(self, make: Make, folder: Path, records: int) -> None:
        self.adapter: Adapter = make(folder, records)
        self._open = False

    def do(self, line: str) -> dict[str, Any]:
        """Do a job; return its result, or why it failed."""
        name, *numbers = line.split()
        count, width, limit_ms = map(int, numbers)
        try:
            self._prepare(name)
            return WORKS[name](self.adapter, Job(count, width, limit_ms / 1000))
        except Exception as failure:  # noqa: BLE001 - said to the one who gave the job
            return {"failed": f"{type(failure).__name__}: {failure}"}

    def _prepare(self, name: str) -> None:
        if name == "start":
            self.adapter.close()  # it opens for itself
        elif not self._open:
            there = self.adapter.open()
            if not there and name not in WITHOUT_FILLING:
                fill(self.adapter, self.adapter.records)
        self._open = True


def main(arguments: Sequence[str]) -> int:
    """Serve until the end of input; 0, or 1 with the reason as the last line on standard error."""
    engine, folder, records = arguments
    try:
        server = Server(maker_of(engine), Path(folder), int(records))
    except WorkFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    for line in sys.stdin:
        print(json.dumps(server.do(line)), flush=True)
    server.adapter.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
