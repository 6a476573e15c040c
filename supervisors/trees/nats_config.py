"""The configuration of a node's nats-server: what is in it, and the file that is written.

Nothing listens anywhere but at the addresses that are given; every connection, of clients and of
other servers, is encrypted with a certificate of the cluster on both sides and shows a password.
`sync_interval: always`: what is confirmed is on the disks of a majority. (With NATS's own setting
all of the last two minutes can be lost in a power cut.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from palaver.supervisors.trees.cluster_keys import NodeKeys, Role

__all__ = ["ACCOUNT", "CLIENT_USER", "MAX_PAYLOAD_BYTES", "SYSTEM_USER", "NatsConfig"]

ACCOUNT: Final = "PALAVER"
CLIENT_USER: Final = "palaver"
SYSTEM_USER: Final = "palaver-system"
_ROUTE_USER: Final = "palaver-route"
MAX_PAYLOAD_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsConfig:
    """A nats-server of a cluster.

    Attributes:
        node: its name: that of the node; all names of a cluster differ.
        cluster: the cluster's name.
        folder: where it keeps its data (`store`), its configuration and its `run` files.
        keys: the node's keys; None: neither TLS nor passwords, for tests on one machine.
        host: where clients and other servers reach it; a name or address of this machine.
        client_port: for nodes; -1: any.
        cluster_port: for other servers; None: it stands alone, without replication; -1: any.
        routes: `host:port` of other servers, of some or all; its own may be among them.
        monitor_port: for its state over HTTP, on this machine only; -1: any.
        max_file_bytes: of all journals on this server; None: what NATS takes, most of the disk.
        max_memory_bytes: of what it keeps in memory for followers.
        max_payload_bytes: of a message.
        max_connections: of clients.
        max_pending_bytes: what may wait for a client that does not read; then it is cut off.
        passwords: what makes the password of a role, where there are no keys.
    """

    node: str
    cluster: str
    folder: Path
    keys: NodeKeys | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    client_port: int = 4222
    cluster_port: int | None = 6222
    routes: tuple[str, ...] = ()
    monitor_port: int = -1
    max_file_bytes: int | None = None
    max_memory_bytes: int = 256 << 20
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    max_connections: int = 65536
    max_pending_bytes: int = 64 << 20
    passwords: Callable[[Role], str] | None = field(default=None, repr=False)

    @property
    def file(self) -> Path:
        """Where the configuration is written."""
        return self.folder / "nats-server.conf"

    @property
    def run_folder(self) -> Path:
        """Where the server says on which ports it listens."""
        return self.folder / "run"

    def password(self, role: Role) -> str:
        """Return the password of a role, empty where there are none."""
        if self.keys is not None:
            return self.keys.password(role)
        return self.passwords(role) if self.passwords is not None else ""

    def write(self) -> Path:
        """Write the configuration; only its owner can read it, for it has the passwords.

        Raises:
            OSError: the folder cannot be made or written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.run_folder.mkdir(exist_ok=True, mode=0o700)
        beside = self.file.with_suffix(".new")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self.text())
        beside.replace(self.file)
        return self.file

    def text(self) -> str:
        """Return the configuration, in NATS's own format."""
        lines = [
            "# Written by palaver at every start; changes are lost.",
            f"server_name: {_quoted(self.node)}",
            f"listen: {_quoted(_address(self.host, self.client_port))}",
            f"http: {_quoted(_address('127.0.0.1', self.monitor_port))}",
            f"ports_file_dir: {_quoted(self.run_folder)}",
            f"max_payload: {self.max_payload_bytes}",
            f"max_connections: {self.max_connections}",
            f"max_pending: {self.max_pending_bytes}",
            "max_control_line: 4096",
            'ping_interval: "5s"',
            "ping_max: 2",
            'write_deadline: "10s"',
            'lame_duck_duration: "30s"',
            "logtime: false",
            *self._tls(),
            *self._accounts(),
            "jetstream {",
            f"  store_dir: {_quoted(self.folder / 'store')}",
            "  sync_interval: always",
            f"  max_memory_store: {self.max_memory_bytes}",
            *([f"  max_file_store: {self.max_file_bytes}"] if self.max_file_bytes else []),
            "}",
            *self._cluster(),
        ]
        return "\n".join(lines) + "\n"

    def _tls(self, indent: str = "") -> list[str]:
        if self.keys is None:
            return []
        lines = [
            "tls {",
            f"  cert_file: {_quoted(self.keys.certificate)}",
            f"  key_file: {_quoted(self.keys.key)}",
            f"  ca_file: {_quoted(self.keys.authority)}",
            "  verify: true",
            '  min_version: "1.3"',
            "  timeout: 5",
            "}",
        ]
        return [indent + line for line in lines]

    def _accounts(self) -> list[str]:
        """Who may connect: nodes, whose account has JetStream, and who looks at the server."""
        if not self.password("node"):
            return []
        client = f"user: {CLIENT_USER}, password: {_quoted(self.password('node'))}"
        system = f"user: {SYSTEM_USER}, password: {_quoted(self.password('system'))}"
        return [
            "accounts {",
            f"  {ACCOUNT}: {{ jetstream: enabled, users: [ {{ {client} }} ] }}",
            f"  SYS: {{ users: [ {{ {system} }} ] }}",
            "}",
            "system_account: SYS",
        ]

    def _cluster(self) -> list[str]:
        if self.cluster_port is None:
            return []
        password = self.password("route")
        login = f"{_ROUTE_USER}:{quote(password)}@" if password else ""
        lines = [
            "cluster {",
            f"  name: {_quoted(self.cluster)}",
            f"  listen: {_quoted(_address(self.host, self.cluster_port))}",
            '  ping_interval: "2s"',
            *self._tls("  "),
        ]
        if password:
            user = f"user: {_ROUTE_USER}, password: {_quoted(password)}"
            lines.append(f"  authorization {{ {user}, timeout: 5 }}")
        lines.append("  routes: [")
        lines += [f"    {_quoted(f'nats-route://{login}{route}')}" for route in self.routes]
        return [*lines, "  ]", "}"]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _quoted(value: str | Path) -> str:
    r"""Quote a text for NATS's format, whose strings know `\"`, `\\` and `\n` as JSON's do.

    Raises:
        ValueError: it has a `$`, which would stand for a variable, or a control character.
    """
    text = str(value)
    if "$" in text or not text.isprintable():
        raise ValueError(f"{text!r} cannot be written into the configuration of nats-server")
    return json.dumps(text, ensure_ascii=False)
