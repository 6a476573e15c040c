"""`palaver user`: accounts and devices, in a running node or in a data folder at rest."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.prompt import Confirm

from palaver.supervisors.cli.options import DataOption, JsonOption, data_folder, help_of
from palaver.supervisors.cli.output import (
    CommandError,
    console,
    print_json,
    print_table,
    progress_bar,
    when,
)
from palaver.transport.http.admin_port import (
    AddedDevice,
    AdminPort,
    AdminRefused,
    NewDevice,
    UserRecord,
    new_device,
)

T = TypeVar("T")
IMPORT_BATCH = 1000
_MAX_LINE_CHARS = 65_536

user_app = typer.Typer(
    help="Accounts and devices: list, add, import, revoke, delete.",
    epilog="Works through the node's socket while it runs, on the data folder while it does not.",
    no_args_is_help=True,
)

C = TypeVar("C", bound=Callable[..., None])


def _command(name: str) -> Callable[[C], C]:
    return lambda command: user_app.command(name, help=help_of(command))(command)


Account = Annotated[str, typer.Argument(help="A phone number, such as +491701234567.")]


def _with_admin(data: Path | None, work: Callable[[AdminPort], Awaitable[T]]) -> T:
    # The client of the socket is a large import; `--help` does not wait for it.
    from palaver.supervisors.cli.admin_client import open_admin

    folder = data_folder(data)

    async def go() -> T:
        async with open_admin(folder) as admin:
            return await work(admin)

    return asyncio.run(go())


@_command("list")
def list_users(
    data: DataOption = None,
    after: Annotated[
        str | None, typer.Option(help="Begin behind this account.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Accounts at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List accounts, in the order of their numbers."""

    async def work(admin: AdminPort) -> list[UserRecord]:
        found: list[UserRecord] = []
        last = after
        while len(found) < limit:
            page = await admin.users(last, min(1000, limit - len(found)))
            found.extend(page)
            if not page:
                break
            last = page[-1].account
        return found

    found = _with_admin(data, work)
    if as_json:
        print_json(found)
        return
    if not found:
        console().print("no accounts")
        return
    print_table(
        f"{len(found)} accounts",
        ["account", "devices", "online", "last seen", "since"],
        [
            [u.account, u.devices, _yes(u.online), when(u.last_seen_ms), when(u.created_ms)]
            for u in found
        ],
    )
    if len(found) == limit:
        console().print(f"[dim]more: palaver user list --after {found[-1].account}[/]")


@_command("show")
def show(account: Account, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show one account and its devices."""

    async def work(admin: AdminPort) -> dict[str, object]:
        user = await admin.user(account)
        return {"user": user, "devices": list(await admin.devices(user.account))}

    found = _with_admin(data, work)
    if as_json:
        print_json(found)
        return
    user = found["user"]
    assert isinstance(user, UserRecord)
    state = "online" if user.online else f"last seen {when(user.last_seen_ms)}"
    console().print(f"[bold]{user.account}[/]  {state}, since {when(user.created_ms)}")
    _print_devices(found["devices"])


@_command("add")
def add(
    phone: Annotated[str, typer.Argument(help="Its phone number, such as +491701234567.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an account without a device; its owner signs up a device with a code."""
    user = _with_admin(data, lambda admin: admin.add_user(phone))
    if as_json:
        print_json(user)
    else:
        console().print(f"added [bold]{user.account}[/]")


@_command("import")
def import_devices(
    file: Annotated[str, typer.Argument(help="A file of JSON lines; - reads them from stdin.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register many devices by their keys, without codes.

    Each line is {"account": "+491701234567", "device_name": "laptop", "pubkey_hex": "..."} with the
    32 bytes of an Ed25519 public key. Accounts are made where they are missing. All lines are read
    and checked before the first is registered; they are registered 1000 at a time.
    """
    new = list(_read_import(file))

    async def work(admin: AdminPort) -> list[AddedDevice]:
        added: list[AddedDevice] = []
        with progress_bar("import", in_bytes=False, quiet=as_json) as told:
            for at in range(0, len(new), IMPORT_BATCH):
                added.extend(await admin.add_devices(new[at : at + IMPORT_BATCH]))
                told(len(added), len(new))
        return added

    added = _with_admin(data, work)
    if as_json:
        print_json(added)
    else:
        accounts = len({a.account for a in added})
        devices = len({(a.account, a.device) for a in added})  # a key stands for one device
        console().print(f"imported {devices} devices of {accounts} accounts")


@_command("code")
def code(
    phone: Annotated[str, typer.Argument(help="Whom the code is for.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a sign-up code and print it here, instead of sending it."""
    issued = _with_admin(data, lambda admin: admin.issue_code(phone))
    if as_json:
        print_json(issued)
    else:
        console().print(
            f"code for [bold]{issued.account}[/]: [bold green]{issued.code}[/]"
            f"  [dim]valid until {when(issued.expires_ms)}[/]"
        )


@_command("devices")
def devices(account: Account, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List an account's devices."""
    found = _with_admin(data, lambda admin: admin.devices(account))
    if as_json:
        print_json(found)
    else:
        _print_devices(found)


@_command("revoke")
def revoke(
    account: Account,
    device: Annotated[int, typer.Argument(min=1, help="The device's number.")],
    data: DataOption = None,
) -> None:
    """Revoke a device: its connection ends at once, and what is queued for it is dropped."""
    _with_admin(data, lambda admin: admin.revoke(account, device))
    console().print(f"revoked device {device} of {account}")


@_command("delete")
def delete(
    account: Account,
    data: DataOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an account: its devices, what is queued for them, its places in groups.

    The number stays known without a device; signing up again opens the account anew.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError(
                "deleting cannot be undone", "add --yes to delete without a question"
            )
        if not Confirm.ask(f"Delete {account} with all devices and queues?", default=False):
            raise typer.Exit(1)
    _with_admin(data, lambda admin: admin.delete_user(account))
    console().print(f"deleted {account}")


def _print_devices(found: object) -> None:
    assert isinstance(found, list | tuple)
    print_table(
        "",
        ["device", "name", "online", "last seen", "queued", "since"],
        [
            [d.device, d.name, _yes(d.online), when(d.last_seen_ms), d.queued, when(d.created_ms)]
            for d in found
        ],
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _read_import(file: str) -> Iterator[NewDevice]:
    try:
        with ExitStack() as stack:
            lines = sys.stdin if file == "-" else stack.enter_context(Path(file).open("rb"))
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _import_line(line, f"{file}, line {number}")
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror})") from None


def _import_line(line: str | bytes, where: str) -> NewDevice:
    if len(line) > _MAX_LINE_CHARS:
        raise CommandError(f"{where}: the line is too long")
    try:
        return new_device(json.loads(line))
    except AdminRefused as refused:
        raise CommandError(f"{where}: {refused.text}") from None
    except (ValueError, RecursionError):
        raise CommandError(f"{where}: is not JSON") from None
