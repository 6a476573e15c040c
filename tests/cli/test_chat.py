from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_programs import WAIT_S, Node, Program, command, environment, palaver

ANNA, BEN = "+491701234567", "+491701234568"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    running = Node(tmp_path_factory.mktemp("node"))
    yield running
    running.close()


def test_two_people_talk_through_pipes(node: Node, tmp_path: Path) -> None:
    url = node.where["ws"]
    anna = Program("chat", "--url", url, "--home", str(tmp_path / "anna"))
    ben = Program("chat", ANNA, "--url", url, "--home", str(tmp_path / "ben"), "--as", BEN)
    try:
        anna.expect("phone number")
        anna.say("0170 abc")
        anna.expect("no phone number")
        anna.say("+49 170 1234567")
        anna.expect("code for")
        anna.say("not the code")
        anna.expect("not the code")
        anna.say(node.code_for(ANNA))
        anna.expect("whom do you want to talk to")
        ben.expect("code for")
        ben.say(node.code_for(BEN))
        ben.expect(re.escape(f"* {ANNA} online"))

        ben.say("Hello Anna \x1b[31m, how are you?")
        ben.expect("✓ #1 sent")
        anna.expect(r"#1 \+491701234568: Hello Anna \ufffd\[31m, how are you\?")
        ben.expect("✓✓ #1 read")
        anna.say("Fine // thanks")
        anna.expect("✓✓ #2 read")
        ben.expect(r"#2 \+491701234567: Fine // thanks")

        picture = tmp_path / "sea.png"
        picture.write_bytes(bytes(range(256)) * 1000)
        ben.say(f"/file {picture}")
        ben.expect("sea.png 100%")
        ben.expect("✓✓ #3 read")
        anna.expect(r"\[image/png\] sea\.png  \(/save 1\)")
        anna.say(f"/save 1 {tmp_path}/got.png")
        anna.expect("got.png .*verified")
        assert (tmp_path / "got.png").read_bytes() == picture.read_bytes()

        anna.say(f"/group Picnic {BEN}")
        anna.expect(r"\* Picnic")
        ben.expect(r"Picnic.*added")
        ben.say("/to Picnic")
        ben.expect(r"\* Picnic 2 members")
        ben.say("I bring bread")
        anna.expect(r"\+491701234568: I bring bread")
        anna.say("/who")
        anna.expect(r"\+491701234568 online")
        anna.say("/nonsense")
        anna.expect("no command /nonsense")
        anna.say("/help")
        anna.expect("/quit +end")
        ben.say("/quit")
        assert ben.wait() == 0
        anna.say(f"/to {BEN}")
        anna.expect(r"\* \+491701234568 last seen")
        anna.end_input()
        assert anna.wait() == 0
    finally:
        anna.close()
        ben.close()

    # Again: no sign-up, the history is there, and one line through a pipe is a message.
    done = palaver("chat", BEN, "--home", str(tmp_path / "anna"), stdin="one more\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello Anna" in done.stdout
    assert re.search(r"✓ #4 sent", done.stdout)
    done = palaver("chat", ANNA, "--home", str(tmp_path / "ben"))
    assert "one more" in done.stdout


class Terminal:
    """A chat in a full terminal of 100 x 30, seen as a person sees it."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            command("chat", *arguments), stdin=slave, stdout=slave, stderr=slave,
            env=environment(TERM="xterm-256color"), start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.output = ""

    def expect(self, text: str) -> None:
        """Read until this text was drawn; escape sequences between its characters do not count."""
        ends = time.monotonic() + WAIT_S
        while text not in _SEQUENCE.sub("", self.output):
            ready, _, _ = select.select([self.master], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"{text!r} was not drawn: {self.output!r}"
            piece = os.read(self.master, 65536)
            # A terminal answers when it is asked where its cursor is.
            if b"\x1b[6n" in piece:
                os.write(self.master, b"\x1b[1;1R")
            self.output += piece.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[()=>].?)")


def test_the_window_shows_ticks_typing_and_presence(node: Node, tmp_path: Path) -> None:
    cleo, dora = "+491701234571", "+491701234572"
    url = node.where["ws"]
    other = Program("chat", "--url", url, "--home", str(tmp_path / "dora"), "--as", dora)
    other.expect("code for")
    other.say(node.code_for(dora))
    other.expect("whom do you want to talk to")
    window = Terminal(dora, "--url", url, "--home", str(tmp_path / "cleo"), "--as", cleo)
    try:
        window.expect("code for")
        window.type(node.code_for(cleo) + "\r")
        window.expect("online")
        other.say(f"/to {cleo}")
        other.expect("online")
        other.say("Hello Cleo")
        window.expect("Hello Cleo")
        window.type("Hello")
        other.expect("typing")
        window.type(" Dora\r")
        other.expect(r"\+491701234571: Hello Dora")
        window.expect("✓✓")
        other.say("/quit")
        assert other.wait() == 0
        window.expect("last seen")
        window.type("\x04")
        assert window.process.wait(WAIT_S) == 0
    finally:
        window.close()
        other.close()


def test_what_goes_wrong_is_one_line(node: Node, tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    done = palaver("chat", "--url", "ws://127.0.0.1:9", "--as", ANNA, *home)
    assert (done.returncode, "cannot be reached" in done.stderr) == (1, True)
    done = palaver("chat", "--url", "ftp://x", *home)
    assert (done.returncode, "no server's address" in done.stderr) == (2, True)
    done = palaver("chat", "--as", "12", *home)
    assert (done.returncode, "no phone number" in done.stderr) == (2, True)
    done = palaver("chat", "--url", node.where["ws"], "--as", "+491701234599", *home)
    assert (done.returncode, "input ended" in done.stderr) == (1, True)
