"""Where a chat keeps who it is: one folder per account, readable by its owner only.

    HOME/last                      the account used last
    HOME/+491701234567/identity    the device's key
    HOME/+491701234567/state       what the client library must not forget (SQLite)
    HOME/+491701234567/history     what was shown (SQLite)
    HOME/+491701234567/server      the address it signed up at

HOME is `--home`, `PALAVER_HOME`, or `palaver` under `XDG_DATA_HOME` (`~/.local/share`).
"""

from __future__ import annotations

import os
from pathlib import Path

import phonenumbers

from palaver.supervisors.cli.output import EXIT_USAGE, CommandError


def home_folder(given: Path | None) -> Path:
    """The folder of all accounts, made if it is missing."""
    if given is None and os.environ.get("PALAVER_HOME"):
        given = Path(os.environ["PALAVER_HOME"])
    if given is None:
        xdg = os.environ.get("XDG_DATA_HOME", "")
        base = Path(xdg) if xdg.startswith("/") else Path.home() / ".local" / "share"
        given = base / "palaver"
    return _private(given.expanduser())


class AccountHome:
    """The folder of one account."""

    def __init__(self, home: Path, account: str) -> None:
        self.account = account
        self.folder = home / account
        self.identity = self.folder / "identity"
        self.state = self.folder / "state"
        self.history = self.folder / "history"
        self._server = self.folder / "server"
        self._last = home / "last"

    @property
    def signed_up(self) -> bool:
        """Whether this account has a device here."""
        return self.identity.is_file()

    @property
    def server(self) -> str | None:
        """The address it signed up at; several with commas between them."""
        try:
            return self._server.read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None

    def make(self) -> None:
        """Make the folder."""
        _private(self.folder)

    def remember(self, server: str) -> None:
        """Keep the address, and that this account was used last."""
        self._server.write_text(server + "\n", "utf-8")
        self._last.write_text(self.account + "\n", "utf-8")


def known_account(home: Path) -> str | None:
    """The account used last, or the only one there is."""
    try:
        last = (home / "last").read_text("utf-8").strip()
    except FileNotFoundError:
        last = ""
    if last and AccountHome(home, last).signed_up:
        return last
    found = sorted(p.name for p in home.iterdir() if (p / "identity").is_file())
    return found[0] if len(found) == 1 else None


def phone_number(text: str, own: str | None = None) -> str:
    """A phone number as E.164; without + it is read as one of the country of `own`.

    Raises:
        CommandError: when it is none.
    """
    region = None
    if own is not None:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(own))
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise CommandError(
            f"{text!r} is no phone number", "write it as +491701234567", code=EXIT_USAGE
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _private(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{folder} cannot be made ({error.strerror})", "--home FOLDER") from None
    return folder
