"""The registered names of the chat's processes, and where a key lives."""

from __future__ import annotations

from palaver.storage.partitioning import partition_of

__all__ = [
    "ACCOUNTS",
    "Places",
    "forwarder_name",
    "gateway_name",
    "manager_name",
    "partition_name",
    "presence_name",
    "queues_name",
    "sequencers_name",
    "sessions_name",
]

ACCOUNTS = "accounts"
"""The process of one-time codes; there is one, beside partition 0."""


def partition_name(number: int) -> str:
    """The process of a partition."""
    return f"partition.{number}"


def forwarder_name(number: int) -> str:
    """The process that carries a partition's outbox to the other partitions."""
    return f"forwarder.{number}"


def sequencers_name(number: int) -> str:
    """The supervisor of a partition's sequencers."""
    return f"sequencers.{number}"


def manager_name(number: int) -> str:
    """The process that knows where the accounts of a partition are connected."""
    return f"manager.{number}"


def presence_name(number: int) -> str:
    """The process that knows which accounts of a partition are online."""
    return f"presence.{number}"


def gateway_name(number: int) -> str:
    """A gateway."""
    return f"gateway.{number}"


def sessions_name(number: int) -> str:
    """The supervisor of a gateway's sessions."""
    return f"sessions.{number}"


def queues_name(number: int) -> str:
    """The supervisor of the device queues of a gateway's sessions."""
    return f"queues.{number}"


class Places:
    """Where accounts and conversations live, among a fixed number of partitions."""

    __slots__ = ("_partitions",)

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return self._partitions

    def number_of(self, key: str | bytes) -> int:
        """The number of the partition of an account (str) or a conversation (bytes)."""
        return partition_of(key.encode() if isinstance(key, str) else key, self._partitions)

    def name_of(self, number: int) -> str:
        """The name of the process of a partition."""
        return partition_name(number)

    def of(self, key: str | bytes) -> str:
        """The name of the process of the partition of an account or a conversation."""
        return partition_name(self.number_of(key))

    def manager_of(self, account: str) -> str:
        """The name of the manager of an account."""
        return manager_name(self.number_of(account))

    def presence_of(self, account: str) -> str:
        """The name of the presence of an account."""
        return presence_name(self.number_of(account))
