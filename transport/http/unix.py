"""Unix sockets that only their owner may open, at paths of any length."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path


def unix_listener(path: Path) -> socket.socket:
    """A listening Unix socket at `path` that only this user may open.

    The mode is set between bind and listen: before listen nobody can connect, so there is no
    moment at which another user could. The path may be longer than a socket address holds.
    """
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with unix_address(path) as address:
            sock.bind(address)
        path.chmod(0o600)
        sock.listen(16)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """An address for `path` that fits into the 107 bytes of a Unix socket's address.

    A longer path is reached through its folder's descriptor, while the block runs.
    """
    if len(os.fsencode(path)) <= 107:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
