"""Does one of several things to a database and notes on the tape what it promised to whom."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from bank_story import RECORDS, Bank, Seat
from bank_teller import content_of, open_bank, perform, tell
from database_judge import DEEDS, DatabaseJudge
from disk_tape import Mode, Op, Recorder

from palaver.storage.tables import Aborted, Database
from palaver.storage.tables.commit import Commit
from palaver.storage.tables.lanes import Lanes

CLIENTS = 3


def write(root: Path, seed: int, tape: Recorder, deeds: int, partitions: int) -> None:
    """Do the first deeds, one after the other."""
    bank = Bank(seed, partitions)
    db = open_bank(root / "bank", partitions)
    for number in range(deeds):
        deed = bank.deed(number)
        tape.mark(f"begun {number + 1}")
        tell(db, deed)
        if deed.kind in ("sync_transaction", "clear_table") and not deed.aborts:
            tape.mark(f"acked {number + 1}")
    db.close()
    tape.mark(f"acked {deeds}")


def threads(root: Path, seed: int, tape: Recorder, deeds: int, partitions: int) -> None:
    """Several clients at once, each a thread."""
    db = open_bank(root / "bank", partitions)
    clients = [
        threading.Thread(
            target=_tell_all, args=(db, tape, Bank(seed, partitions, None, n), n, range(deeds))
        )
        for n in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    db.close()


def loop(root: Path, seed: int, tape: Recorder, deeds: int, partitions: int) -> None:
    """Several clients at once under an event loop."""

    async def client(db: Database, bank: Bank, client: int) -> None:
        for number in range(deeds):
            deed = bank.deed(number)
            tape.mark(f"begun {client} {number + 1}")
            with suppress(Aborted):
                await getattr(db.aio, deed.kind)(perform, deed)
            if deed.kind == "sync_transaction" and not deed.aborts:
                tape.mark(f"acked {client} {number + 1}")

    async def main() -> None:
        open_bank(root / "bank", partitions).close()
        running = asyncio.get_running_loop()
        db = Database.open(
            root / "bank",
            records=RECORDS,
            post=running.call_soon_threadsafe,
            defer=running.call_soon,
        )
        db.ensure_table(Seat, storage="ram_copies")
        banks = [Bank(seed, partitions, None, number) for number in range(CLIENTS)]
        await asyncio.gather(*(client(db, bank, number) for number, bank in enumerate(banks)))
        await db.aclose()

    asyncio.run(main())


def archive(root: Path, seed: int, tape: Recorder, _: int, partitions: int) -> None:
    """Tell a story, make a backup, go on, and install the backup as a fallback."""
    bank = Bank(seed, partitions)
    with open_bank(root / "bank", partitions) as db:
        _tell_all(db, tape, bank, 1, range(DEEDS))
        db.backup(root / "backup")
        tape.mark("backed_up 0")
        _tell_all(db, tape, bank, 1, range(DEEDS, 2 * DEEDS))
        tape.mark("installing 0")
        db.install_fallback(root / "backup")
        tape.mark("installed 0")


def come_back(root: Path, seed: int, tape: Recorder, _: int, partitions: int) -> None:
    """Let the fallback in, tell another story, and restore the backup over it."""
    bank = Bank(seed + 1, partitions)
    with open_bank(root / "bank", partitions) as db:
        _tell_all(db, tape, bank, 2, range(DEEDS))
        tape.mark("restoring 0")
        db.restore(root / "backup")
        tape.mark("restored 0")


def _tell_all(db: Database, tape: Recorder, bank: Bank, whose: int, deeds: range) -> None:
    for number in deeds:
        deed = bank.deed(number)
        tape.mark(f"begun {whose} {number + 1}")
        tell(db, deed)
        if deed.kind in ("sync_transaction", "clear_table") and not deed.aborts:
            tape.mark(f"acked {whose} {number + 1}")


def unagreed(root: Path, seed: int, tape: Recorder, deeds: int, partitions: int) -> None:
    """A broken database: its partitions do not agree before they commit."""

    def each_alone(lanes: Lanes, commit: Commit) -> None:
        for partition, ops in commit.parts.items():
            lanes._pipeline.append(partition, ("write", ops.plain()), commit)

    Lanes._prepare = each_alone  # type: ignore[method-assign]
    write(root, seed, tape, deeds, partitions)


def endless(root: Path, seed: int, tape: Recorder, _: int, partitions: int) -> None:
    """Do deeds until killed, and make backups meanwhile."""
    bank = Bank(seed, partitions)
    db = open_bank(root / "bank", partitions)

    def back_up() -> None:
        for number in count():
            db.backup(root / f"backup-{number}")

    threading.Thread(target=back_up, daemon=True).start()
    for number in count():
        deed = bank.deed(number)
        tape.mark(f"begun {number + 1}")
        tell(db, deed)
        if deed.kind in ("sync_transaction", "clear_table") and not deed.aborts:
            tape.mark(f"acked {number + 1}")


def die(root: Path, seed: int, tape: Recorder, nth: int, partitions: int) -> None:
    """Be killed within the nth operation."""
    tape.fault(Op.ANY, nth, Mode.DIE_AFTER)
    write(root, seed, tape, 30, partitions)


def look(root: Path, seed: int, tape: Recorder, begun: int, partitions: int) -> None:
    """Open what a killed process has left: what is shown must outlast a power cut from now on."""
    db = open_bank(root / "bank", partitions)
    reached = DatabaseJudge(seed, partitions).compare(content_of(db), 0, begun)
    if partitions == 1:
        tape.mark(f"acked {reached[0][0]}")
    db.close()


JOBS: dict[str, Callable[[Path, int, Recorder, int, int], None]] = {
    "write": write,
    "threads": threads,
    "loop": loop,
    "archive": archive,
    "come_back": come_back,
    "unagreed": unagreed,
    "endless": endless,
    "die": die,
    "look": look,
}

if __name__ == "__main__":
    JOBS[sys.argv[1]](
        Path(sys.argv[2]), int(sys.argv[3]), Recorder(), int(sys.argv[4]), int(sys.argv[5])
    )
