"""What a person can enter in a chat: a line is a message, or a command that begins with a slash."""

from __future__ import annotations

import mimetypes
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePath
from typing import NamedTuple

from palaver.supervisors.cli.chat_home import phone_number
from palaver.supervisors.cli.chat_model import Entry, safe_text
from palaver.supervisors.cli.chat_screen import clock
from palaver.supervisors.cli.chat_session import ChatSession
from palaver.supervisors.cli.output import CommandError, when
from palaver.transport.client import ClientError, FileId, Misuse


class Command(NamedTuple):
    """A command: how it is written, what it does, and the function."""

    usage: str
    help: str
    run: Callable[[ChatSession, list[str]], Awaitable[None]]


async def enter_line(chat: ChatSession, line: str) -> bool:
    """Do what a line says; False when the chat shall end."""
    text = line.strip()
    if not text:
        return True
    if not text.startswith("/") or text.startswith("//"):
        try:
            chat.say(text.removeprefix("/") if text.startswith("//") else text)
        except ClientError as error:
            chat.note(f"not sent: {error}")
        return True
    name, _, rest = text[1:].partition(" ")
    if name in ("quit", "q", "exit"):
        return False
    command = COMMANDS.get(name)
    if command is None:
        chat.note(f"there is no command /{name}; /help lists all")
        return True
    try:
        await command.run(chat, shlex.split(rest))
    except CommandError as error:
        chat.note(error.text + (f"; {error.hint}" if error.hint else ""))
    except ClientError as error:
        chat.note(f"/{name}: {error}")
    except OSError as error:
        chat.note(f"/{name}: {error.strerror or error}")
    except ValueError as error:  # quotes that do not close
        chat.note(f"/{name}: {error}")
    return True


def _need(args: list[str], low: int, usage: str) -> None:
    if len(args) < low:
        raise CommandError(f"write {usage}")


async def _help(chat: ChatSession, _: list[str]) -> None:
    for command in COMMANDS.values():
        chat.note(f"{command.usage:<28} {command.help}")
    chat.note("ticks: ◌ waiting, ✓ kept by the server, ✓✓ delivered, blue (or 'read') read")


async def _to(chat: ChatSession, args: list[str]) -> None:
    _need(args, 1, "/to PHONE or /to GROUP")
    await chat.enter(" ".join(args))


async def _chats(chat: ChatSession, _: list[str]) -> None:
    found = await chat.conversations()
    for c in found:
        others = [m for m in c.members if m != chat.client.account]
        name = f"{safe_text(c.name, 100)} ({len(c.members)} members)" if c.is_group else others[0]
        chat.note(f"{name}, {c.last_seq} messages")
    if not found:
        chat.note("no conversations yet; /to PHONE begins one")


async def _who(chat: ChatSession, _: list[str]) -> None:
    room = chat.room
    if room is None:
        chat.note(f"you are {chat.client.account}, device {chat.client.device}")
        return
    for member in room.members:
        if member == chat.client.account:
            chat.note(f"{member} (you)")
            continue
        presence = await chat.client.watch(member)
        if room.is_group:
            await chat.client.unwatch(member)
        seen = presence.last_seen_ms
        state = f"last seen {clock(seen)}" if seen is not None else "not online"
        chat.note(f"{member} {'online' if presence.online else state}")


async def _group(chat: ChatSession, args: list[str]) -> None:
    _need(args, 2, "/group NAME PHONE [PHONE ...]")
    members = [phone_number(a, chat.client.account) for a in args[1:]]
    made = await chat.client.create_group(args[0], members)
    await chat.enter_group(made.conv)


async def _members(chat: ChatSession, args: list[str], *, add: bool) -> None:
    _need(args, 1, "/add PHONE" if add else "/remove PHONE")
    if chat.room is None or not chat.room.is_group:
        raise CommandError("this is no group")
    members = [phone_number(a, chat.client.account) for a in args]
    await chat.client.change_members(
        chat.room.conv, add=members if add else (), remove=() if add else members
    )


async def _add(chat: ChatSession, args: list[str]) -> None:
    await _members(chat, args, add=True)


async def _remove(chat: ChatSession, args: list[str]) -> None:
    await _members(chat, args, add=False)


async def _file(chat: ChatSession, args: list[str]) -> None:
    _need(args, 1, "/file PATH")
    room = chat.room
    if room is None:
        raise CommandError("say first whom you want to talk to: /to PHONE")
    path = _readable(" ".join(args))
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    own = chat.client.account
    text = f"[{kind}] {path.name}"
    entry = Entry(own, text, chat.now_ms(), mine=True, file_name=path.name, progress=0.0)

    def told(done: int, total: int) -> None:
        entry.progress = done / total if total else 1.0
        chat.screen.changed(entry)

    room.add(entry)
    chat.screen.added(entry)
    try:
        file = await chat.client.upload_file(kind, path, progress=told)
    except (ClientError, OSError):
        room.entries.remove(entry)
        raise
    chat.send_file(entry, room, kind, file)


def _readable(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise CommandError(f"there is no file {path}")
    return path


async def _save(chat: ChatSession, args: list[str]) -> None:
    if not chat.files:
        raise CommandError("nobody has sent a file here")
    number = int(args[0]) if args and args[0].isdigit() else len(chat.files)
    if not 1 <= number <= len(chat.files):
        raise CommandError(f"there are files 1 to {len(chat.files)}")
    entry = chat.files[number - 1]
    assert entry.file is not None
    target = _target(entry.file_name, [a for a in args if not a.isdigit()])

    def told(done: int, total: int) -> None:
        entry.progress = done / total if total else 1.0
        chat.screen.changed(entry)

    try:
        await chat.client.download_file(
            chat.client.account, FileId(entry.file), to=target, progress=told
        )
    finally:
        entry.progress = None
    chat.note(f"saved {target} (SHA-256 {entry.file.hex()[:16]}..., verified)")


def _target(sent_name: str, wanted: list[str]) -> Path:
    # The name comes from someone else: only its last part counts, and nothing is overwritten.
    name = PurePath(sent_name.replace("\\", "/")).name.strip(". ") or "file"
    target = Path(wanted[0]).expanduser() if wanted else Path(name)
    if target.is_dir():
        target = target / name
    free, number = target, 1
    while free.exists():
        free = target.with_name(f"{target.stem} ({number}){target.suffix}")
        number += 1
    return free


async def _devices(chat: ChatSession, _: list[str]) -> None:
    for d in await chat.client.devices():
        this = ", this one" if d.current else ""
        chat.note(f"{d.device}: {safe_text(d.name, 100)}, last seen {when(d.last_seen_ms)}{this}")


async def _revoke(chat: ChatSession, args: list[str]) -> None:
    _need(args, 1, "/revoke DEVICE")
    if not args[0].isdigit():
        raise CommandError("a device is a number; /devices lists them")
    await chat.client.revoke(int(args[0]))
    chat.note(f"device {args[0]} is revoked")


async def _block(chat: ChatSession, args: list[str]) -> None:
    await _set_block(chat, args, blocked=True)


async def _unblock(chat: ChatSession, args: list[str]) -> None:
    await _set_block(chat, args, blocked=False)


async def _set_block(chat: ChatSession, args: list[str], *, blocked: bool) -> None:
    _need(args, 1, "/block PHONE")
    account = phone_number(args[0], chat.client.account)
    await chat.client.block(account, blocked)
    chat.note(f"{account} is {'blocked' if blocked else 'not blocked any more'}")


async def _hide(chat: ChatSession, args: list[str]) -> None:
    if args[:1] not in (["on"], ["off"]):
        raise Misuse("write /hide on or /hide off")
    hidden = args[0] == "on"
    await chat.client.hide_last_seen(hidden)
    chat.note(
        "nobody sees when you were here, and you do not see it of others"
        if hidden
        else "others see when you were here, and you see it of them"
    )


async def _quit(_: ChatSession, __: list[str]) -> None:
    """Never run: the caller ends the chat."""


COMMANDS: dict[str, Command] = {
    "to": Command("/to PHONE | GROUP", "talk to someone else", _to),
    "chats": Command("/chats", "list conversations", _chats),
    "who": Command("/who", "who is here, and when they were last seen", _who),
    "file": Command("/file PATH", "send a file", _file),
    "save": Command("/save [NUMBER] [PATH]", "fetch a file; the last one without a number", _save),
    "group": Command("/group NAME PHONE ...", "make a group", _group),
    "add": Command("/add PHONE ...", "add members to this group", _add),
    "remove": Command("/remove PHONE ...", "remove members; yourself to leave", _remove),
    "devices": Command("/devices", "list your devices", _devices),
    "revoke": Command("/revoke DEVICE", "end a device of yours", _revoke),
    "block": Command("/block PHONE", "take no more messages from someone", _block),
    "unblock": Command("/unblock PHONE", "take them again", _unblock),
    "hide": Command("/hide on|off", "hide when you were last seen", _hide),
    "help": Command("/help", "show this", _help),
    "quit": Command("/quit", "end; Ctrl-D does it too", _quit),
}
