"""match_object and select in an activity."""

from __future__ import annotations


class Matching:
    """Matching."""

    __slots__ = ()
