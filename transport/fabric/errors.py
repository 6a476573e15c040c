"""What may be wrong between a node and NATS, or with what is sent; each with what to do about it.

NatsError
├── NatsSettingsWrong         what was asked for cannot be; nothing was tried
├── NatsUnreachable           no server has answered in time
├── NatsRefused               the servers do not know these credentials
├── NatsUntrusted             TLS failed: a certificate, or a server that has none
├── NatsTooBig                a payload is larger than the servers take
└── NatsClosed                a call after `close`

PacketTooBig                  one packet is refused; it is a ValueError
"""

from __future__ import annotations

__all__ = [
    "NatsClosed",
    "NatsError",
    "NatsRefused",
    "NatsSettingsWrong",
    "NatsTooBig",
    "NatsUnreachable",
    "NatsUntrusted",
    "PacketTooBig",
]


class NatsError(Exception):
    """Base of what the connection to NATS raises."""


class NatsSettingsWrong(NatsError):
    """The settings of a connection cannot be used; the text says which, and what to write."""


class NatsUnreachable(NatsError):
    """No NATS server has answered in time.

    Attributes:
        urls: which were tried, without passwords.
    """

    def __init__(self, urls: tuple[str, ...], timeout_s: float, last: str) -> None:
        super().__init__(
            f"no NATS server has answered within {timeout_s:g} s at {', '.join(urls)} ({last}); "
            "start nats-server there, or correct the address"
        )
        self.urls = urls


class NatsRefused(NatsError):
    """Every server refuses the user, the password or the key."""

    def __init__(self, urls: tuple[str, ...], last: str) -> None:
        super().__init__(
            f"NATS at {', '.join(urls)} refuses the credentials ({last}); "
            "all nodes and servers of a cluster need the same secret"
        )
        self.urls = urls


class NatsUntrusted(NatsError):
    """TLS failed: neither side says anything secret to the other."""

    def __init__(self, urls: tuple[str, ...], last: str) -> None:
        super().__init__(
            f"no trusted TLS connection to NATS at {', '.join(urls)} ({last}); "
            "check that both certificates are of the cluster's own authority and still valid, "
            "and that the server's names the host in the address"
        )
        self.urls = urls


class NatsTooBig(NatsError):
    """A payload is larger than the servers take."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{size_bytes} bytes are more than the {limit_bytes} that NATS takes in one message; "
            "raise max_payload of all servers, or send less at a time"
        )


class NatsClosed(NatsError):
    """The connection was closed by this program; make a new one."""


class PacketTooBig(ValueError):
    """A packet is larger than `FabricLimits.max_packet_bytes`; it is refused, and nothing else."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"a message of {size_bytes} bytes to another node; at most {limit_bytes} go: "
            "send a reference to it, or parts of it"
        )
