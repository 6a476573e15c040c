"""Tapes as text: everything that a run was, in one line that can be pasted, or in a file.

    pt1~chat~42~order/a@12,15=2+delay/a%3Eb@4~9f3c21aa

That is the version, the scenario, the seed of values, the deviations by stream (the number of the
choice, and what was chosen if it was not 1) and a checksum. No character of it means anything to a
shell or inside a Python string, so it needs no quotes. Long ones are compressed: their deviations
begin with ``z.``. A file has the same as lines that a person can read and edit.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from palaver.actors.simulation.world.sources import Recorded
from palaver.actors.simulation.world.tape import Address, Deviations, kind_of

__all__ = ["RecordedTape", "TapeUnreadable", "by_kind"]

MARK: Final = "pt"
VERSION: Final = 1
HEADING: Final = f"palaver tape {VERSION}"
COMPRESS_FROM: Final = 600
"""Characters; what is longer is compressed."""
MAX_CHARACTERS: Final = 16 * 1024 * 1024
"""No tape is longer than this, unpacked."""
SAFE: Final = "/.-_:"


class TapeUnreadable(ValueError):
    """A text is no tape; says what is wrong with it and where."""


@dataclass(frozen=True, slots=True)
class RecordedTape:
    """One run to be run again: the scenario's name, the seed of values, what deviated.

    Args:
        scenario: A registered name, or ``module:function``.
        seed: Of the values (`Tape.random`): not of choices, which are all here.
        deviations: In the order in which they happened.
    """

    scenario: str
    seed: int = 0
    deviations: Deviations = field(default_factory=dict)

    def __post_init__(self) -> None:
        for (stream, number), value in self.deviations.items():
            if not stream or number < 0 or value < 1:
                raise TapeUnreadable(f"no deviation: {stream!r} #{number} = {value}")

    def __str__(self) -> str:
        """The tape in one line."""
        body = _packed(_streams(self.deviations))
        head = "~".join((f"{MARK}{VERSION}", _quoted(self.scenario), str(self.seed), body))
        return f"{head}~{_checksum(head)}"

    @classmethod
    def parse(cls, text: str) -> RecordedTape:
        """Read a tape, in one line or as a file's text; raises `TapeUnreadable`."""
        text = text.strip()
        if len(text) > MAX_CHARACTERS:
            raise TapeUnreadable(f"a tape of more than {MAX_CHARACTERS} characters")
        if text.startswith("palaver tape"):
            return cls._of_lines(text.splitlines())
        parts = text.split("~")
        version = parts[0].removeprefix(MARK)
        if not text.startswith(MARK) or not version.isdecimal():
            raise TapeUnreadable(f"no tape: it begins with {text[:12]!r}, not with '{MARK}1~'")
        if int(version) != VERSION:
            raise TapeUnreadable(
                f"a tape of version {version}; this Palaver reads version {VERSION}: "
                "replay it with the one that made it"
            )
        if len(parts) != 5:
            raise TapeUnreadable(f"a tape has 5 parts between '~', this has {len(parts)}: cut off?")
        head, _, checksum = text.rpartition("~")
        if _checksum(head) != checksum:
            raise TapeUnreadable(
                f"its checksum is {_checksum(head)}, and it says {checksum}: cut off or changed?"
            )
        return cls(unquote(parts[1]), _number(parts[2], "seed"), _deviations(_unpacked(parts[3])))

    @property
    def source(self) -> Recorded:
        """What makes a world choose as the tape says."""
        return Recorded(self.deviations, self.seed)

    # -- files --------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write the tape as lines that can be read and edited."""
        lines = [
            HEADING,
            "# replay with: palaver simulate --replay FILE",
            f"scenario {_quoted(self.scenario)}",
            f"seed {self.seed}",
        ]
        lines += [
            f"{_quoted(s)} {number} {value}" for (s, number), value in self.deviations.items()
        ]
        Path(path).write_text("\n".join([*lines, f"end {len(self.deviations)}", ""]), "utf-8")

    @classmethod
    def load(cls, path: Path | str) -> RecordedTape:
        """Read a file of `save`, or one that holds the one line; raises `TapeUnreadable`."""
        try:
            return cls.parse(Path(path).read_text("utf-8"))
        except UnicodeDecodeError:
            raise TapeUnreadable(f"{path} is no text") from None

    @classmethod
    def _of_lines(cls, lines: list[str]) -> RecordedTape:
        if lines[0].strip() != HEADING:
            raise TapeUnreadable(f"the file begins with {lines[0]!r}, not with {HEADING!r}")
        scenario, seed, ended = "", 0, False
        deviations: dict[Address, int] = {}
        for at, line in enumerate(lines[1:], 2):
            words = line.partition("#")[0].split()
            if not words:
                continue
            where = f"line {at}"
            if words[0] == "scenario" and len(words) == 2:
                scenario = unquote(words[1])
            elif words[0] == "seed" and len(words) == 2:
                seed = _number(words[1], where)
            elif words[0] == "end":  # any number: lines may have been taken out by hand
                ended = True
            elif len(words) == 3:
                stream = unquote(words[0])
                deviations[stream, _number(words[1], where)] = _number(words[2], where)
            else:
                raise TapeUnreadable(f"{where} is no deviation: {line.strip()!r}")
        if not ended:
            raise TapeUnreadable("the file has no last line 'end': cut off?")
        if not scenario:
            raise TapeUnreadable("the file names no scenario")
        return cls(scenario, seed, deviations)


def _streams(deviations: Deviations) -> str:
    streams: dict[str, list[str]] = {}
    for (stream, number), value in deviations.items():
        shown = str(number) if value == 1 else f"{number}={value}"
        streams.setdefault(stream, []).append(shown)
    return "+".join(f"{_quoted(name)}@{','.join(found)}" for name, found in streams.items())


def _deviations(text: str) -> dict[Address, int]:
    found: dict[Address, int] = {}
    for part in filter(None, text.split("+")):
        name, at, choices = part.partition("@")
        if not at:
            raise TapeUnreadable(f"no stream of deviations: {part[:40]!r}")
        for choice in choices.split(","):
            number, equals, value = choice.partition("=")
            found[unquote(name), _number(number, name)] = _number(value, name) if equals else 1
    return found


def _packed(text: str) -> str:
    if len(text) <= COMPRESS_FROM:
        return text
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).rstrip(b"=").decode()
    return f"z.{packed}" if len(packed) + 2 < len(text) else text


def _unpacked(text: str) -> str:
    # A stream cannot be meant: it would have an '@'.
    if not text.startswith("z.") or "@" in text:
        return text
    packed = text[2:]
    try:
        data = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(data, MAX_CHARACTERS)
    except (binascii.Error, zlib.error) as error:
        raise TapeUnreadable(f"its deviations cannot be unpacked: {error}") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise TapeUnreadable(f"a tape of more than {MAX_CHARACTERS} characters, or cut off")
    return plain.decode()


def _quoted(name: str) -> str:
    return quote(name, safe=SAFE).replace("~", "%7E")


def _number(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TapeUnreadable(f"{where}: {text[:20]!r} is no number") from None


def _checksum(head: str) -> str:
    return f"{zlib.crc32(head.encode()):08x}"


def by_kind(deviations: Iterable[Address]) -> dict[str, int]:
    """How many there are of each kind, the most first."""
    counts: dict[str, int] = {}
    for stream, _ in deviations:
        kind = kind_of(stream)
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
