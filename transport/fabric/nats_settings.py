"""What a connection to NATS is made of: addresses, credentials, TLS, limits."""

from __future__ import annotations

import importlib.util
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import NatsSettingsWrong

__all__ = ["NatsSettings", "NatsStats", "mutual_tls"]


def mutual_tls(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a client's TLS 1.3 context: it trusts one authority, and shows a certificate of it.

    Args:
        authority: the cluster's own certificate authority, PEM; no other is trusted.
        certificate: this node's, PEM.
        key: its private key, PEM, not encrypted.

    Raises:
        NatsSettingsWrong: a file is missing or is not what it should be.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cafile=str(authority))
        context.load_cert_chain(certfile=str(certificate), keyfile=str(key))
    except (OSError, ValueError) as exc:
        raise NatsSettingsWrong(
            f"TLS between nodes cannot be set up from {authority}, {certificate} and {key}: {exc}"
        ) from exc
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """How to connect to NATS.

    Attributes:
        urls: servers, as ``nats://host:port`` or ``host:port``; one that answers is enough, the
            others of their cluster are learned from it.
        name: how the connection is called in the servers' own reports: the node's name.
        user, password: credentials; both or neither. Not to be written into a URL.
        creds: a NATS credentials file, instead.
        nkey_seed: a file with the seed of an nkey, instead.
        tls: a context as `mutual_tls` makes; then a server without TLS is refused.
        tls_hostname: the name that a server's certificate must have, if not that of its URL.
        inbox_prefix: where answers to requests go; a cluster's own keeps others from listening.
        connect_timeout_s: so long one server may take to answer.
        first_timeout_s: so long the first connection may take; afterwards it is tried for ever.
        reconnect_wait_s: between two attempts at the same server, plus up to as much, by chance.
        ping_s: so often the server has to answer.
        pings_missed: after so many without an answer another server is tried.
        pending_bytes: what may wait to be sent; more is refused.
        drain_timeout_s: so long `drain` waits for what has arrived to be worked off.
        close_timeout_s: so long `close` waits for what was published to leave.
    """

    urls: tuple[str, ...]
    name: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    creds: Path | None = None
    nkey_seed: Path | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    tls_hostname: str | None = None
    inbox_prefix: str = "_INBOX"
    connect_timeout_s: float = 2.0
    first_timeout_s: float = 20.0
    reconnect_wait_s: float = 0.1
    ping_s: float = 1.0
    pings_missed: int = 2
    pending_bytes: int = 64 * 1024 * 1024
    drain_timeout_s: float = 5.0
    close_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.urls:
            raise NatsSettingsWrong("no NATS server is named: give at least one host:port")
        for url in self.urls:
            parts = urlsplit(url if "://" in url else f"nats://{url}")
            if parts.scheme not in {"nats", "tls"} or not parts.hostname:
                raise NatsSettingsWrong(f"{parts.hostname or url!r}: write nats://host:port")
            if parts.username is not None:
                raise NatsSettingsWrong(
                    f"{parts.hostname}: a URL is shown in logs; give user and password apart"
                )
        if (self.user is None) != (self.password is None):
            raise NatsSettingsWrong("user and password belong together: give both or neither")
        ways = [self.user, self.creds, self.nkey_seed]
        if sum(way is not None for way in ways) > 1:
            raise NatsSettingsWrong("give user and password, or creds, or nkey_seed, but one only")
        if (self.creds or self.nkey_seed) and importlib.util.find_spec("nkeys") is None:
            raise NatsSettingsWrong(
                "creds and nkey_seed need a package: pip install 'nats-py[nkeys]'"
            )
        for path in (self.creds, self.nkey_seed):
            if path is not None and not path.is_file():
                raise NatsSettingsWrong(f"there is no file {path}")

    def options(self) -> dict[str, Any]:
        """Return what nats-py's `Client.connect` takes, without callbacks."""
        options: dict[str, Any] = {
            "servers": list(self.urls),
            "name": self.name,
            "no_echo": True,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "connect_timeout": self.connect_timeout_s,
            "reconnect_time_wait": self.reconnect_wait_s,
            "ping_interval": self.ping_s,
            "max_outstanding_pings": self.pings_missed,
            "pending_size": self.pending_bytes,
            "flush_timeout": self.connect_timeout_s,
            "drain_timeout": self.drain_timeout_s,
            "inbox_prefix": self.inbox_prefix,
        }
        if self.tls is not None:
            options |= {"tls": self.tls, "tls_hostname": self.tls_hostname}
        if self.user is not None:
            options |= {"user": self.user, "password": self.password}
        if self.creds is not None:
            options["user_credentials"] = str(self.creds)
        if self.nkey_seed is not None:
            options["nkeys_seed"] = str(self.nkey_seed)
        return options


@dataclass(slots=True)
class NatsStats:
    """Plain counters of a connection, for the metrics to read."""

    disconnects: int = 0
    reconnects: int = 0
    errors: int = 0
    slow_consumers: int = 0
    """Messages that were dropped here because a subscription did not keep up."""
    refused: int = 0
    """Messages that were not sent: no connection, or too much waited to be sent."""
