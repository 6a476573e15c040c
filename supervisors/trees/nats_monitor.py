"""What a nats-server says of itself over HTTP, at its monitoring address."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["MonitorFailed", "ServerState", "fetch", "server_state"]

_MAX_BYTES: Final = 16 << 20


class MonitorFailed(Exception):
    """A monitoring address does not answer as nats-server does; the text says how."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What matters of a server's JetStream.

    Attributes:
        meta_leader: the server that leads all of JetStream; None: nobody does, or it is not known.
        clustered: whether there is anything to lead: a server alone needs no leader.
        peers_offline: servers that this one knows and does not hear.
    """

    meta_leader: str | None
    clustered: bool
    peers_offline: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether streams can be made and found."""
        return not self.clustered or self.meta_leader is not None


def fetch(url: str, path: str, timeout_s: float) -> Mapping[str, Any]:
    """Ask a monitoring address; it blocks, so not for the thread of the loop.

    Args:
        url: as `http://127.0.0.1:8222`, or https.
        path: what is asked for, as `/jsz?config=1`.
        timeout_s: for each step: to connect, to read.

    Raises:
        MonitorFailed: no answer, or none that nats-server gives.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path.rstrip("/") + path)
        answer = connection.getresponse()
        text = answer.read(_MAX_BYTES)
        if answer.status != http.client.OK:
            raise MonitorFailed(f"{url}{path}: {answer.status} {answer.reason}")
        said = json.loads(text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MonitorFailed(f"{url}{path}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if not isinstance(said, dict):
        raise MonitorFailed(f"{url}{path}: not what nats-server says")
    return said


def server_state(url: str, timeout_s: float) -> ServerState:
    """Ask a server for the state of its JetStream; it blocks.

    Raises:
        MonitorFailed: it does not answer, or has no JetStream.
    """
    said = fetch(url, "/jsz", timeout_s)
    if said.get("disabled"):
        raise MonitorFailed(f"{url}: JetStream is off")
    meta = said.get("meta_cluster")
    if meta is None:
        return ServerState(None, False, ())
    peers = meta.get("replicas") or ()
    offline = tuple(str(peer.get("name")) for peer in peers if peer.get("offline"))
    return ServerState(meta.get("leader") or None, True, offline)
