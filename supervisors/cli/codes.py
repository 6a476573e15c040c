"""Where sign-up codes go: to the operator's terminal, or to a file that a program reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rich.text import Text

from palaver.supervisors.cli.output import console


class TerminalCodeSender:
    """Prints each code on this terminal: for one person's node, where no text message is sent."""

    async def send(self, phone: str, code: str) -> None:
        """Print the code; it goes to no log."""
        console().print(
            Text.assemble(("code for ", "dim"), (phone, "bold"), ": ", (code, "bold green"))
        )


class FileCodeSender:
    """Appends each code to a file of mode 0600 as one JSON line `{"phone", "code"}`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def send(self, phone: str, code: str) -> None:
        """Append the code in one write, so that a reader never sees half a line."""
        line = json.dumps({"phone": phone, "code": code}).encode() + b"\n"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
