"""Checks of single fields, shared by the parsers of both directions.

Every check is exact about the type: ``True`` is no integer here, although Python says it is one.
"""

from __future__ import annotations

from typing import Any

from .constants import CONVERSATION_BYTES, MAX_TYPE_BYTES, MAX_UINT


class Invalid(Exception):
    """A field is not what the grammar says; the text names the field."""


def is_account(value: Any) -> bool:
    """Tell whether `value` is a phone number as E.164 writes it: '+' and 7 to 15 digits."""
    return (
        type(value) is str
        and 8 <= len(value) <= 16
        and value[0] == "+"
        and value[1] != "0"
        and value.isascii()
        and value[1:].isdigit()
    )


def is_type(value: Any) -> bool:
    """Tell whether `value` is a message's type: 1 to 64 printable characters of ASCII."""
    return (
        type(value) is str
        and 0 < len(value) <= MAX_TYPE_BYTES
        and value.isascii()
        and value.isprintable()
    )


def account(value: Any, name: str) -> str:
    """Return `value` if it is an account, else raise `Invalid`."""
    if is_account(value):
        return value  # type: ignore[no-any-return]
    raise Invalid(f"{name} is not a phone number in E.164 form")


def unsigned(value: Any, name: str, most: int = MAX_UINT) -> int:
    """Return `value` if it is an unsigned integer of at most `most`, else raise `Invalid`."""
    if type(value) is int and 0 <= value <= most:
        return value
    raise Invalid(f"{name} is not an unsigned integer of at most {most}")


def positive(value: Any, name: str, most: int = MAX_UINT) -> int:
    """Return `value` if it is an integer from 1 to `most`, else raise `Invalid`."""
    if type(value) is int and 0 < value <= most:
        return value
    raise Invalid(f"{name} is not an integer from 1 to {most}")


def boolean(value: Any, name: str) -> bool:
    """Return `value` if it is true or false, else raise `Invalid`."""
    if type(value) is bool:
        return value
    raise Invalid(f"{name} is neither true nor false")


def text(value: Any, name: str, max_bytes: int, min_bytes: int = 1) -> str:
    """Return `value` if it is text within the byte lengths of its UTF-8, else raise `Invalid`."""
    if type(value) is str and min_bytes <= len(value.encode()) <= max_bytes:
        return value
    raise Invalid(f"{name} is not text of {min_bytes} to {max_bytes} bytes")


def exact_bytes(value: Any, name: str, size: int) -> bytes:
    """Return `value` if it is a byte string of just `size` bytes, else raise `Invalid`."""
    if type(value) is bytes and len(value) == size:
        return value
    raise Invalid(f"{name} is not a byte string of {size} bytes")


def conversation(value: Any, name: str = "conv") -> bytes:
    """Return `value` if it is a conversation's id, else raise `Invalid`."""
    return exact_bytes(value, name, CONVERSATION_BYTES)


def unsigned_or_none(value: Any, name: str) -> int | None:
    """Return `value` if it is an unsigned integer or null, else raise `Invalid`."""
    return None if value is None else unsigned(value, name)


def accounts(value: Any, name: str, most: int, least: int = 0) -> tuple[str, ...]:
    """Return the list as a tuple if it holds `least` to `most` accounts, else raise `Invalid`."""
    if type(value) is not list or not least <= len(value) <= most:
        raise Invalid(f"{name} is not a list of {least} to {most} accounts")
    return tuple([account(each, name) for each in value])


def fields(value: Any, count: int, name: str) -> list[Any]:
    """Return `value` if it is a list of just `count` items, else raise `Invalid`."""
    if type(value) is list and len(value) == count:
        return value
    raise Invalid(f"{name} is not a list of {count} items")
