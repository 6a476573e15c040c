"""Tables without any actor: a lending library that loses nothing.

Typed records, an index, transactions that are whole or not at all, a query that reads like Python,
events, a change of the schema on a live database, and a look at what is durable. Run it twice: the
second time everything is still there.

    python examples/library_tables.py [folder]
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from palaver.storage.tables import Activity, Database, count, descending, each, query, rows
from palaver.storage.tables.events import Write


@dataclass(frozen=True, slots=True)
class Book:
    isbn: str  # the first field is the key
    title: str
    author: str
    copies: int


@dataclass(frozen=True, slots=True)
class Loan:
    key: tuple[str, str]  # (reader, isbn): an ordered_set keeps a reader's loans together
    since: str


SHELF = [
    Book("0-262", "Concepts, Techniques, and Models", "Van Roy", 2),
    Book("1-934", "Programming Erlang", "Armstrong", 1),
    Book("1-937", "Programming Phoenix", "McCord", 1),
    Book("0-596", "Erlang Programming", "Cesarini", 3),
]


class NoCopyLeft(Exception):
    """Out of a transaction's function it undoes the transaction, and reaches the caller."""


def lend(tx: Activity, reader: str, isbn: str, day: str) -> int:
    """Take a copy from the shelf and write the loan: both, or neither."""
    book = tx.get(Book, isbn)
    if book is None or book.copies == 0:
        raise NoCopyLeft(isbn)
    tx.write(Book(book.isbn, book.title, book.author, book.copies - 1))
    tx.write(Loan((reader, isbn), day))
    return book.copies - 1


def main(folder: Path) -> None:
    with Database.open(folder, records=[Book, Loan]) as db:
        books = db.ensure_table(Book, index=["author"])
        db.ensure_table(Loan, type="ordered_set")
        if not db.table_info(books, "size"):
            db.sync_transaction(lambda tx: tx.write_all(SHELF))

        told: list[str] = []
        db.subscribe(Loan, lambda event: isinstance(event, Write) and told.append(event.record.key))

        for reader in ("ann", "bob"):
            try:
                # It returns when the disk has it: an answer that a power cut cannot take back.
                left = db.sync_transaction(lend, reader, "1-934", "2026-11-24")
                print(f"{reader} takes Programming Erlang, {left} left")
            except NoCopyLeft:
                print(f"{reader}: no copy left, nothing was written")
        db.sync_transaction(lend, "ann", "0-596", "2026-11-24")

        lent = query(
            lambda: (
                (loan.key[0], book.title)
                for loan in rows(Loan)
                for book in rows(Book)
                if loan.key[0] == "ann" and loan.key[1] == book.isbn
            )
        )
        print("ann has:", sorted(title for _, title in db.transaction(Activity.query, lent)))
        print(db.transaction(Activity.explain, lent))

        book = each(Book)
        most = query(book.author, count()).group_by(book.author).order_by(descending(count()))
        print("authors:", len(db.transaction(Activity.query, most)))
        print("by index:", [book.title for book in db.dirty_index_read(Book, "McCord", "author")])

        if "copies" not in db.table_info(Book, "index"):
            db.add_table_index(Book, "copies")  # on the live table
        print("not on the shelf:", [book.title for book in db.dirty_index_read(Book, 0, "copies")])
        print("told of:", told)
        sequence, digest = db.digest()
        print(f"durable up to {sequence}, digest {digest:016x}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
