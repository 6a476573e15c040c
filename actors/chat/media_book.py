"""Which uploads there are, and what they reserve: plain bookkeeping without any effect."""

from __future__ import annotations

from collections.abc import Iterator

from .media_piece import Upload


class AccountUploads:
    """One account's uploads, kept while it has any or begins one."""

    __slots__ = ("beginning", "open", "reserved_bytes", "settled", "uploads")

    def __init__(self) -> None:
        self.uploads: dict[str, Upload] = {}
        """By id, oldest first."""
        self.open = 0
        """How many of them are not stored yet."""
        self.reserved_bytes = 0
        """The full size of those."""
        self.settled = 0
        """How often a reservation has become a stored file."""
        self.beginning = 0


class UploadBook:
    """All uploads by account."""

    __slots__ = ("_accounts", "open")

    def __init__(self) -> None:
        self._accounts: dict[str, AccountUploads] = {}
        self.open = 0
        """Uploads of all accounts that are not stored yet."""

    def __iter__(self) -> Iterator[Upload]:
        for held in self._accounts.values():
            yield from held.uploads.values()

    def find(self, account: str, upload_id: str) -> Upload | None:
        """The account's upload of that id."""
        held = self._accounts.get(account)
        return None if held is None else held.uploads.get(upload_id)

    def begin(self, account: str) -> AccountUploads:
        """The account's entry, kept at least until `end_begin`."""
        held = self._accounts.setdefault(account, AccountUploads())
        held.beginning += 1
        return held

    def end_begin(self, account: str) -> None:
        """The counterpart of `begin`."""
        self._accounts[account].beginning -= 1
        self._forget_if_empty(account)

    def enter(self, upload: Upload) -> None:
        """Takes an upload in and reserves its size."""
        record = upload.record
        held = self._accounts.setdefault(record.account, AccountUploads())
        held.uploads[record.upload_id] = upload
        if not record.stored:
            held.open += 1
            held.reserved_bytes += record.size_bytes
            self.open += 1

    def settle(self, upload: Upload) -> None:
        """Frees the reservation of an upload whose file has just been stored."""
        held = self._accounts[upload.record.account]
        held.settled += 1
        self._free(held, upload)

    def remove(self, upload: Upload) -> bool:
        """Forgets an upload and frees what it reserved; False if it was not there any more."""
        account, upload_id = upload.record.account, upload.record.upload_id
        held = self._accounts.get(account)
        if held is None or held.uploads.pop(upload_id, None) is None:
            return False
        if not upload.record.stored:
            self._free(held, upload)
        self._forget_if_empty(account)
        return True

    def stored_beyond(self, account: str, keep: int) -> list[Upload]:
        """The account's oldest stored uploads, all but `keep` of them."""
        held = self._accounts.get(account)
        if held is None:
            return []
        stored = [each for each in held.uploads.values() if each.record.stored]
        return stored[: max(0, len(stored) - keep)]

    def _free(self, held: AccountUploads, upload: Upload) -> None:
        held.open -= 1
        held.reserved_bytes -= upload.record.size_bytes
        self.open -= 1

    def _forget_if_empty(self, account: str) -> None:
        held = self._accounts[account]
        if not held.uploads and not held.beginning:
            del self._accounts[account]
