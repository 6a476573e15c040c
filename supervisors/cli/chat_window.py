"""The chat's window for a full terminal: who it is and what they do, the messages, the input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Point
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import (
    BufferControl,
    FormattedTextControl,
    HSplit,
    Layout,
    VSplit,
    Window,
)
from prompt_toolkit.styles import Style

from palaver.supervisors.cli.chat_model import Entry, Room, Tick
from palaver.supervisors.cli.chat_screen import clock

_TYPING_ENDS_S = 4.0
_PAGE = 10
_MAX_WAITING_LINES = 64

_STYLE = Style.from_dict(
    {
        "bar": "reverse",
        "bar.state": "reverse italic",
        "time": "ansibrightblack",
        "me": "ansigreen bold",
        "other": "ansimagenta bold",
        "note": "ansibrightblack italic",
        "tick": "ansibrightblack",
        "read": "ansibrightblue bold",
        "failed": "ansired bold",
        "prompt": "ansigreen bold",
    }
)


class WindowScreen:
    """A `Screen` that fills the terminal; `running()` draws it while its block runs."""

    def __init__(self) -> None:
        self._room: Room | None = None
        self._entered: asyncio.Queue[str | None] = asyncio.Queue(_MAX_WAITING_LINES)
        self._told: Callable[[bool], None] = lambda _: None
        self._typing_until: asyncio.TimerHandle | None = None
        self._up = 0  # entries scrolled up from the newest
        self._input = Buffer(
            accept_handler=self._accept,
            on_text_changed=self._edited,
            history=InMemoryHistory(),
            multiline=False,
        )
        self._app: Application[None] = Application(
            layout=self._layout(), key_bindings=self._keys(), style=_STYLE, full_screen=True
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Draw until the block ends; the terminal is as before afterwards."""
        # The program handles its signals itself.
        task = asyncio.ensure_future(self._app.run_async(handle_sigint=False))
        task.add_done_callback(lambda _: self._end_input())
        try:
            yield
        finally:
            if self._typing_until is not None:
                self._typing_until.cancel()
            if self._app.is_running:
                self._app.exit()
            await asyncio.gather(task, return_exceptions=True)

    def show(self, room: Room) -> None:
        """Show this room from now on."""
        self._room = room
        self._up = 0
        self._app.invalidate()

    def added(self, entry: Entry) -> None:
        """Draw the new entry; who reads further up stays there."""
        del entry
        if self._up:
            self._up += 1
        self._app.invalidate()

    def changed(self, entry: Entry) -> None:
        """Draw the new tick or progress."""
        del entry
        self._app.invalidate()

    def status(self) -> None:
        """Draw what the other side does."""
        self._app.invalidate()

    def on_typing(self, told: Callable[[bool], None]) -> None:
        """Call `told` when the person begins to type, and when they stop."""
        self._told = told

    async def lines(self) -> AsyncIterator[str]:
        """The lines that the person enters, until Ctrl-D or Ctrl-C."""
        while (line := await self._entered.get()) is not None:
            yield line

    # -- input

    def _accept(self, buffer: Buffer) -> bool:
        self._stop_typing()
        if buffer.text.strip():
            try:
                self._entered.put_nowait(buffer.text)
            except asyncio.QueueFull:
                return True  # the text stays in the input
        self._up = 0
        return False

    def _edited(self, buffer: Buffer) -> None:
        if not buffer.text or buffer.text.startswith("/"):
            self._stop_typing()
            return
        if self._typing_until is None:
            self._told(True)
        else:
            self._typing_until.cancel()
        loop = asyncio.get_running_loop()
        self._typing_until = loop.call_later(_TYPING_ENDS_S, self._stop_typing)

    def _stop_typing(self) -> None:
        if self._typing_until is not None:
            self._typing_until.cancel()
            self._typing_until = None
            self._told(False)

    def _end_input(self) -> None:
        if self._entered.full():
            self._entered.get_nowait()
        self._entered.put_nowait(None)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        @keys.add("c-d")
        def _(event: KeyPressEvent) -> None:
            event.app.exit()

        @keys.add("pageup")
        def _(event: KeyPressEvent) -> None:
            entries = len(self._room.entries) if self._room else 0
            self._up = min(self._up + _PAGE, max(entries - 1, 0))

        @keys.add("pagedown")
        def _(event: KeyPressEvent) -> None:
            self._up = max(self._up - _PAGE, 0)

        return keys

    # -- drawing

    def _layout(self) -> Layout:
        messages = FormattedTextControl(
            self._messages, get_cursor_position=self._lowest, show_cursor=False
        )
        prompt = Window(FormattedTextControl([("class:prompt", "> ")]), width=2, height=1)
        entry = Window(BufferControl(self._input), height=1)
        return Layout(
            HSplit(
                [
                    Window(FormattedTextControl(self._bar), height=1, style="class:bar"),
                    Window(messages, wrap_lines=True),
                    Window(height=1, char="─", style="class:time"),
                    VSplit([prompt, entry]),
                ]
            ),
            focused_element=entry,
        )

    def _bar(self) -> StyleAndTextTuples:
        room = self._room
        if room is None:
            return [("class:bar", " Palaver   /help")]
        seen = clock(room.last_seen_ms) if room.last_seen_ms is not None else None
        more = f"   {self._up} newer below, PageDown" if self._up else ""
        return [
            ("class:bar", f" {room.peer}  "),
            ("class:bar.state", room.status(seen)),
            ("class:bar", more),
        ]

    def _visible(self) -> list[Entry]:
        entries = self._room.entries if self._room else []
        return entries[: len(entries) - self._up]

    def _messages(self) -> StyleAndTextTuples:
        parts: StyleAndTextTuples = []
        for entry in self._visible():
            parts.extend(entry_parts(entry))
            parts.append(("", "\n"))
        if parts:
            parts.pop()
        return parts

    def _lowest(self) -> Point:
        # The window scrolls to where the cursor is: the last line keeps the newest in sight.
        lines = sum(e.text.count("\n") + 1 for e in self._visible())
        return Point(0, max(lines - 1, 0))


def entry_parts(entry: Entry) -> StyleAndTextTuples:
    """An entry as styled text; its own line breaks stay within the message."""
    if entry.is_note:
        return [("class:note", entry.text)]
    parts: StyleAndTextTuples = [
        ("class:time", clock(entry.when_ms) + "  "),
        ("class:me", "me") if entry.mine else ("class:other", entry.who),
        ("", "  " + entry.text),
    ]
    if entry.progress is not None and entry.progress < 1:
        filled = int(entry.progress * 20)
        bar = "█" * filled + "░" * (20 - filled)
        parts.append(("class:tick", f"  {bar} {entry.progress:.0%}"))
    if entry.tick is not None:
        style = {Tick.READ: "class:read", Tick.FAILED: "class:failed"}.get(entry.tick, "class:tick")
        parts.append((style, "  " + entry.tick.mark))
    return parts
