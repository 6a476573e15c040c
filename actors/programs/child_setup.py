"""The helper process that starts programs, and kills them when whom it works for is gone.

After Erlang's `erl_child_setup`. It is run as a file of its own, by a bare interpreter, and talks
over a socket that is its stdin. It is small and has one thread, so it may fork; it is the parent of
the programs, so their ids stay theirs until it has looked. When the other end of the socket closes,
for whatever reason (a kill -9 also closes it), it kills the process group of every program and
ends. Should it be killed itself, Linux kills the programs (PR_SET_PDEATHSIG), and the other end the
rest of their groups.

A message is four bytes of length (big-endian) and JSON. Strings that are bytes to the operating
system travel as latin-1.

    to here:    {"id": 1, "argv": [...], "env": {...}, "cwd": null | "..."}, with three descriptors
                {"id": 1, "signal": 15}
    from here:  {"id": 1, "pid": 4711} | {"id": 1, "failed": "exec" | "cwd" | "fork", "errno": 2}
                {"id": 1, "status": code, or minus the signal}
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
MAX_FDS = 253
"""The kernel's limit of descriptors in one message."""


class Programs:
    """The programs that run, by their id with the other end and by their pid."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pids: dict[int, int] = {}
        self.ids: dict[int, int] = {}
        self.buffer = bytearray()
        self.fds: list[int] = []
        self.libc = ctypes.CDLL(None)
        self.own_pid = os.getpid()

    def tell(self, **message: Any) -> None:
        """Send a message."""
        text = json.dumps(message).encode()
        self.sock.sendall(len(text).to_bytes(4, "big") + text)

    def hear(self) -> bool:
        """Take in what was sent; False at the end."""
        data, fds, _, _ = socket.recv_fds(self.sock, 65536, MAX_FDS)
        for fd in fds:
            os.set_inheritable(fd, False)
        self.fds += fds
        self.buffer += data
        while len(self.buffer) >= 4:
            end = 4 + int.from_bytes(self.buffer[:4], "big")
            if len(self.buffer) < end:
                break
            message = json.loads(self.buffer[4:end])
            del self.buffer[:end]
            if "argv" in message:
                self.start(message)
            elif (pid := self.pids.get(message["id"])) is not None:
                kill_group(pid, message["signal"])
        return bool(data)

    def start(self, message: dict[str, Any]) -> None:
        """Start a program and tell what came of it."""
        fds, self.fds = self.fds[:3], self.fds[3:]
        number: int = message["id"]
        heard, said = os.pipe()  # closed by a successful exec; else what went wrong comes through
        try:
            pid = os.fork()
        except OSError as error:
            self.tell(id=number, failed="fork", errno=error.errno)
            os.close(heard)
            os.close(said)
            for fd in fds:
                os.close(fd)
            return
        if pid == 0:
            self.become(message, fds, said)
        os.close(said)
        for fd in fds:
            os.close(fd)
        with open(heard, "rb") as failure:  # noqa: PTH123 - a descriptor, not a path
            text = failure.read()
        if text:
            os.waitpid(pid, 0)
            stage, errno = text.decode().split()
            self.tell(id=number, failed=stage, errno=int(errno))
        else:
            self.pids[number] = pid
            self.ids[pid] = number
            self.tell(id=number, pid=pid)

    def become(self, message: dict[str, Any], fds: list[int], said: int) -> NoReturn:
        """In the child: set everything up and exec the program."""
        stage = "exec"
        try:
            os.setsid()
            self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.own_pid:  # the helper was killed before the line above
                os._exit(1)
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
                signal.SIGHUP,
                signal.SIGPIPE,
                signal.SIGXFSZ,
                signal.SIGCHLD,
            ):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for target, fd in enumerate(fds):
                os.dup2(fd, target)
            if message["cwd"] is not None:
                stage = "cwd"
                os.chdir(message["cwd"].encode("latin-1"))
                stage = "exec"
            argv = [text.encode("latin-1") for text in message["argv"]]
            env = {
                name.encode("latin-1"): value.encode("latin-1")
                for name, value in message["env"].items()
            }
            os.execvpe(argv[0], argv, env)  # noqa: S606 - running programs is what this is for
        except OSError as error:
            os.write(said, f"{stage} {error.errno}".encode())
        except BaseException:  # noqa: BLE001 - a child must never get out of here
            os.write(said, f"{stage} 0".encode())
        os._exit(1)

    def reap(self) -> None:
        """Tell of every program that has ended, having killed what is left of its group."""
        while self.pids:
            # The dead one keeps its id until `waitpid`: no other group can have it before.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            pid = found.si_pid
            kill_group(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            number = self.ids.pop(pid)
            del self.pids[number]
            self.tell(id=number, status=status)


def kill_group(pid: int, number: int) -> None:
    """Send a signal to the process group of a program that has not been waited for."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
    except PermissionError:  # every member has become another user
        return


def main() -> None:
    """Serve the socket that is stdin, to its end."""
    os.setsid()  # a Ctrl-C at the terminal is for the other end
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # what the other end let through
    os.set_inheritable(0, False)
    sock = socket.socket(fileno=os.dup(0))
    sock.setblocking(True)
    wake_in, wake_out = os.pipe()
    os.set_blocking(wake_in, False)
    os.set_blocking(wake_out, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
    programs = Programs(sock)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(wake_in, select.POLLIN)
    try:
        going_on = True
        while going_on:
            ready = {fd for fd, _ in poll.poll()}
            if wake_in in ready:
                os.read(wake_in, 4096)
                programs.reap()
            if sock.fileno() in ready:
                going_on = programs.hear()
    except OSError:
        pass  # the other end is gone
    finally:
        for pid in programs.ids:
            kill_group(pid, signal.SIGKILL)
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
