"""What is known of one key of the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ENVIRONMENT_PREFIX", "Key"]

ENVIRONMENT_PREFIX = "PALAVER_"


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key: how it is read, its help, and where the documentation puts it."""

    read: Callable[[object], object]
    help: str
    section: str = ""  # of the first key of a section
    name: str = ""
    default: object = None

    @property
    def variable(self) -> str:
        """The key's variable of the environment."""
        return ENVIRONMENT_PREFIX + self.name.upper()
