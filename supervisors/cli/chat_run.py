"""A chat from its beginning to its end: signing up, connecting, the screen, the last words."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from prompt_toolkit import PromptSession

from palaver.supervisors.cli.chat import DEFAULT_URL, server_urls
from palaver.supervisors.cli.chat_commands import enter_line
from palaver.supervisors.cli.chat_history import History
from palaver.supervisors.cli.chat_home import (
    AccountHome,
    home_folder,
    known_account,
    phone_number,
)
from palaver.supervisors.cli.chat_screen import LineInput, LineScreen, Screen
from palaver.supervisors.cli.chat_session import ChatSession
from palaver.supervisors.cli.chat_window import WindowScreen
from palaver.supervisors.cli.output import CommandError
from palaver.transport.client import (
    AuthFailed,
    Client,
    ClientError,
    CodeWrong,
    ConnectionFailed,
    FileState,
    Identity,
    Replaced,
    Revoked,
)
from palaver.transport.client.signup import SignUp

_TRIES = 3

Ask = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Who:
    """What the command line says of the person and the servers; None or empty if nothing."""

    home: Path | None
    urls: tuple[str, ...]
    phone: str | None
    device_name: str


async def chat(who: Who, peer: str | None, *, plain: bool) -> None:
    """Sign up where need be, and talk until the input ends.

    Raises:
        CommandError: when it cannot be done, or the server ended it.
    """
    lines = LineInput() if plain else None
    ask = _line_asker(lines) if lines is not None else _prompt_asker()
    folder = home_folder(who.home)
    number = phone_number(who.phone) if who.phone else known_account(folder)
    if number is None:
        number = await _ask_number(ask)
    home = AccountHome(folder, number)
    known = os.environ.get("PALAVER_URL") or home.server or DEFAULT_URL
    servers = who.urls or server_urls(known)
    try:
        if home.signed_up:
            identity = Identity.load(home.identity)
        else:
            identity = await sign_up(servers, home, who.device_name, ask)
        home.remember(",".join(servers))
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                Client(servers, identity, state=FileState(home.state))
            )
            history = History(home.history)
            stack.callback(history.close)
            screen: Screen
            if lines is not None:
                screen = LineScreen(lines)
            else:
                screen = window = WindowScreen()
                await stack.enter_async_context(window.running())
            await _converse(ChatSession(client, history, screen), peer)
    except ClientError as error:
        raise CommandError(_explain(error, " or ".join(servers), home)) from error


async def _ask_number(ask: Ask) -> str:
    question = "Your phone number (+491701234567): "
    for _ in range(_TRIES - 1):
        try:
            return phone_number(await ask(question))
        except CommandError as error:
            question = f"{error.text}; {error.hint}: "
    return phone_number(await ask(question))


async def _converse(chat: ChatSession, peer: str | None) -> None:
    chat.screen.on_typing(chat.typing)
    listening = asyncio.ensure_future(chat.listen())
    entering = asyncio.ensure_future(_enter_all(chat, peer))
    try:
        await asyncio.wait({listening, entering}, return_when=asyncio.FIRST_COMPLETED)
        if not entering.done():
            listening.result()  # the client ended: say why
        else:
            entering.result()
            await chat.finish()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        for task in (listening, entering):
            task.cancel()
        await asyncio.gather(listening, entering, return_exceptions=True)


async def _enter_all(chat: ChatSession, peer: str | None) -> None:
    if peer is not None:
        await chat.enter(peer)
    else:
        chat.note("whom do you want to talk to? /to +491701234567, /chats, /help")
    async for line in chat.screen.lines():
        if not await enter_line(chat, line):
            return


async def sign_up(
    servers: str | Sequence[str], home: AccountHome, device: str, ask: Ask
) -> Identity:
    """Register this device for the account of `home`, and keep its key there.

    Raises:
        ClientError: when the server refuses.
    """
    signing = SignUp(servers)
    await signing.request_code(home.account)
    question = f"The code for {home.account} (a node of your own shows it in its terminal): "
    for attempt in range(1, _TRIES + 1):
        try:
            identity = await signing.register(home.account, await ask(question), device)
            break
        except CodeWrong:
            if attempt == _TRIES:
                raise
            question = "That is not the code. The code: "
    home.make()
    identity.save(home.identity)
    return identity


def _line_asker(lines: LineInput) -> Ask:
    async def ask(question: str) -> str:
        sys.stdout.write(question + "\n")
        sys.stdout.flush()
        answer = await lines.next()
        if answer is None:
            raise CommandError("the input ended before you were signed up")
        return answer.strip()

    return ask


def _prompt_asker() -> Ask:
    session: PromptSession[str] = PromptSession()

    async def ask(question: str) -> str:
        try:
            return (await session.prompt_async(question)).strip()
        except EOFError:
            raise CommandError("you are not signed up") from None

    return ask


def _explain(error: ClientError, server: str, home: AccountHome) -> str:
    if isinstance(error, ConnectionFailed):
        return f"{server} cannot be reached: {error}"
    if isinstance(error, Replaced):
        return "this device connected from somewhere else"
    if isinstance(error, Revoked | AuthFailed):
        return (
            f"{server} does not know this device any more ({error});"
            f" remove {home.folder} to sign up again"
        )
    return str(error)
