"""What the nodes of a cluster stand on: the loopback, or networks and disks of their own.

`OwnGround` gives each node a network namespace, which can be cut off from the others, and two file
systems on loop devices (one for its tables, one for JetStream), whose power can be cut. It needs
root and a kernel that allows it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from palaver.supervisors.cli.node_process import NodeProcess

_NETWORK: Final = "10.213.{}.{}"
_IMAGE_BYTES: Final = 2 << 30
#: Of xfstests' `godown`: the file system ends at once; nothing that is not on the disk gets there.
_EXT4_IOC_SHUTDOWN: Final = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125
_NO_LOG_FLUSH: Final = 2


class Ground(Protocol):
    """Where nodes run."""

    def host(self, index: int) -> str:
        """The address of a node."""

    def before(self, index: int) -> Sequence[str]:
        """What a node's command is run by."""

    def furnish(self, node: NodeProcess) -> None:
        """Make a node's folder ready before its first start."""


class Loopback:
    """All nodes on the loopback, with folders like any other; `why` it is nothing better."""

    def __init__(self, why: str) -> None:
        self.why = why

    def host(self, index: int) -> str:
        return "127.0.0.1"

    def before(self, index: int) -> Sequence[str]:
        return ()

    def furnish(self, node: NodeProcess) -> None:
        pass


class CannotBe(Exception):
    """This machine does not allow it; the text says what."""


def run(*command: str, text: str = "") -> None:
    """Run a command of the system; `CannotBe` with what it said if it fails."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotBe(f"there is no {command[0]}") from None
    if done.returncode:
        raise CannotBe(f"{' '.join(command)}: {done.stderr.strip()}")


class Disk:
    """A file system in a file, and where it is mounted."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image = image
        self.place = place
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", str(image))
        place.mkdir(parents=True)
        self._sync(place.parent)
        self.mount()
        (place / "lost+found").rmdir()

    @staticmethod
    def _sync(folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def mount(self) -> None:
        run("mount", "-t", "ext4", "-o", "loop", str(self.image), str(self.place))

    def unmount(self) -> None:
        run("umount", str(self.place))

    def cut_power(self) -> None:
        """From now on nothing reaches the disk; what only the kernel had is lost."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(fd)


class OwnGround:
    """Networks and disks of their own, for so many nodes; `close` removes them.

    Raises:
        CannotBe: this machine does not allow it.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        if os.geteuid() != 0:
            raise CannotBe("network namespaces and mounts need root")
        self._folder = folder
        self._nodes = nodes
        self._subnet = os.getpid() % 250 + 1
        self._bridge = f"plvr{self._subnet}"
        self.disks: list[Disk] = []
        try:
            self._network()
        except BaseException:
            self.close()
            raise

    def _network(self) -> None:
        bridge = self._bridge
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "addr", "add", f"{_NETWORK.format(self._subnet, 254)}/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        for index in range(self._nodes):
            space, outside = self._space(index), f"{bridge}o{index}"
            run("ip", "netns", "add", space)
            run("ip", "link", "add", outside, "type", "veth", "peer", "eth0", "netns", space)
            run("ip", "link", "set", outside, "master", bridge, "up")
            inside = ("ip", "-n", space)
            run(*inside, "addr", "add", f"{self.host(index)}/24", "dev", "eth0")
            run(*inside, "link", "set", "eth0", "up")
            run(*inside, "link", "set", "lo", "up")
            self._filter(index, "table inet palaver")

    def _space(self, index: int) -> str:
        return f"{self._bridge}n{index}"

    def _filter(self, index: int, rules: str) -> None:
        run("ip", "netns", "exec", self._space(index), "nft", "-f", "-", text=f"{rules}\n")

    def host(self, index: int) -> str:
        return _NETWORK.format(self._subnet, index + 1)

    def before(self, index: int) -> Sequence[str]:
        return ("nsenter", f"--net=/run/netns/{self._space(index)}")

    def furnish(self, node: NodeProcess) -> None:
        folder = node.folder
        self.disks.append(Disk(folder / "tables.img", node.data))
        self.disks.append(Disk(folder / "journals.img", node.data / "nats"))

    def cut_off(self, index: int) -> None:
        """Let nothing pass between a node and the others; clients reach it all the same."""
        others = ", ".join(self.host(other) for other in range(self._nodes) if other != index)
        chains = "\n".join(
            f"chain {hook} {{\ntype filter hook {hook} priority 0;\n{end} {{ {others} }} drop;\n}}"
            for hook, end in (("input", "ip saddr"), ("output", "ip daddr"))
        )
        self._filter(index, f"table inet palaver {{\n{chains}\n}}")

    def heal(self, index: int) -> None:
        """Let everything pass again."""
        self._filter(index, "delete table inet palaver\ntable inet palaver")

    def cut_power(self) -> None:
        """Cut the power of all disks."""
        for disk in self.disks:
            disk.cut_power()

    def power_up(self) -> None:
        """Mount what the power cut left; nobody may have a file open."""
        for disk in reversed(self.disks):
            disk.unmount()
        for disk in self.disks:
            disk.mount()

    def close(self) -> None:
        """Remove all of it; nodes must have ended."""
        for disk in reversed(self.disks):
            with contextlib.suppress(CannotBe):
                disk.unmount()
            disk.image.unlink()
        for index in range(self._nodes):
            with contextlib.suppress(CannotBe):
                run("ip", "netns", "delete", self._space(index))
        with contextlib.suppress(CannotBe):
            run("ip", "link", "delete", self._bridge)
