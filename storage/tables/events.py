"""What subscribers hear: table events, simple or detailed, and system events.

Mnesia's events (mnesia user's guide, "Mnesia Event Handling") as frozen records. Table events come
after the commit is durable, in the order of the commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class ActivityId:
    """Which activity caused an event: its kind and its number since the database was opened."""

    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class Write:
    """A record was written: Mnesia's `{write, NewRecord, ActivityId}`."""

    table: str
    record: Any
    activity: ActivityId


@dataclass(frozen=True, slots=True)
class Delete:
    """A key was deleted: `{delete, {Tab, Key}, ActivityId}`."""

    table: str
    key: Any
    activity: ActivityId


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """One record was deleted: `{delete_object, OldRecord, ActivityId}`."""

    table: str
    record: Any
    activity: ActivityId


@dataclass(frozen=True, slots=True)
class DetailedWrite:
    """A record was written, with what its key held: `{write, Tab, New, [Old], ActivityId}`."""

    table: str
    record: Any
    old_records: tuple[Any, ...]
    activity: ActivityId


@dataclass(frozen=True, slots=True)
class DetailedDelete:
    """A key or one record was deleted: `{delete, Tab, What, [Old], ActivityId}`.

    Attributes:
        what: the key, or the record of a `delete_object`.
        whole_key: whether `what` is a key.
    """

    table: str
    what: Any
    whole_key: bool
    old_records: tuple[Any, ...]
    activity: ActivityId


TableEvent: TypeAlias = Write | Delete | DeleteObject | DetailedWrite | DetailedDelete


@dataclass(frozen=True, slots=True)
class Overload:
    """The backlog of writes has passed its mark: Mnesia's `mnesia_overload`.

    Attributes:
        backlog: commits that wait for the disk.
        limit: at so many, callers wait.
    """

    backlog: int
    limit: int


@dataclass(frozen=True, slots=True)
class Undone:
    """Commits that were answered before they were durable could not be made so: `mnesia_fatal`.

    Attributes:
        commits: how many were undone.
        reason: why, for people.
    """

    commits: int
    reason: str


@dataclass(frozen=True, slots=True)
class DamageFound:
    """A record on the disk is not what was written: `mnesia_error`."""

    table: str
    text: str


@dataclass(frozen=True, slots=True)
class SchemaChanged:
    """A table was created, deleted or changed: the events of the table `schema` in Mnesia.

    Attributes:
        table: its name.
        operation: the function's name, `create_table` for example.
    """

    table: str
    operation: str


@dataclass(frozen=True, slots=True)
class CheckpointActivated:
    """A checkpoint is there: `mnesia_checkpoint_activated`."""

    name: str


@dataclass(frozen=True, slots=True)
class CheckpointDeactivated:
    """A checkpoint is gone: `mnesia_checkpoint_deactivated`."""

    name: str


@dataclass(frozen=True, slots=True)
class SubscriberFailed:
    """A subscriber's callback raised; the others were served: `mnesia_error`."""

    subscriber: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class UserEvent:
    """What somebody gave to `report_event`: `mnesia_user`."""

    event: Any


SystemEvent: TypeAlias = (
    Overload
    | Undone
    | DamageFound
    | SchemaChanged
    | CheckpointActivated
    | CheckpointDeactivated
    | SubscriberFailed
    | UserEvent
)
