"""Choosing the cuts to try: systematic ones of every moment, and random ones, from one seed.

At a moment with n steps pending a disk may hold 2^n states and more. The systematic cuts are those
where order matters: nothing, all, every prefix, all but one, only one, one torn among all, none or
those before it. Random subsets come on top. Cuts that give the same disk are one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from disk_model import Cut, Disk, Step
from disk_tape import Record

PER_MOMENT = 16
"""Systematic cuts that are drawn at a moment with many."""
RANDOM_PER_MOMENT = 4


def candidates(disk: Disk, chance: random.Random) -> Iterator[Cut]:
    """Yield cuts to try at this moment."""
    pending = disk.pending()
    numbers = [step.number for step in pending]
    stale = chance.choice((0, 0, 1 + chance.randrange(1000)))
    everything = frozenset(numbers)
    yield Cut(frozenset(), stale=stale)
    if not pending:
        return
    yield Cut(everything, stale=stale)
    systematic = [(kind, i) for i in range(len(pending)) for kind in range(6)]
    if len(systematic) > PER_MOMENT:
        # The last step is the one that this moment is about.
        last = len(pending) - 1
        systematic = [*chance.sample(systematic, PER_MOMENT), (0, last), (1, last), (3, last)]
    for kind, i in systematic:
        yield _systematic(kind, pending[i], i, numbers, everything, chance, stale)
    for _ in range(RANDOM_PER_MOMENT):
        yield _random(pending, chance)


def _systematic(
    kind: int,
    step: Step,
    i: int,
    numbers: list[int],
    everything: frozenset[int],
    chance: random.Random,
    stale: int,
) -> Cut:
    if kind == 0:
        return Cut(everything - {step.number}, stale=stale)
    if kind == 1:
        return Cut(frozenset((step.number,)), stale=stale)
    if kind == 2:
        return Cut(frozenset(numbers[: i + 1]), stale=stale)
    torn = _torn(step, chance)
    before = (everything - {step.number}, frozenset(numbers[:i]), frozenset[int]())[kind - 3]
    return Cut(before, {step.number: torn}, stale)


def _torn(step: Step, chance: random.Random) -> int:
    """Some of a write's sectors: a beginning, an end, whole pages, or any."""
    sectors = step.sectors
    whole = (1 << sectors) - 1
    at = chance.randrange(sectors + 1)
    page = 0xFF << 8 * chance.randrange(sectors // 8 + 1)
    shapes = ((1 << at) - 1, whole ^ ((1 << at) - 1), whole & ~page, chance.getrandbits(sectors))
    return chance.choice(shapes)


def _random(pending: list[Step], chance: random.Random) -> Cut:
    often = chance.choice((0.1, 0.5, 0.5, 0.9))
    tears = chance.choice((0.0, 0.1, 0.5))
    kept, torn = set(), {}
    for step in pending:
        if chance.random() < tears:
            torn[step.number] = _torn(step, chance)
        elif chance.random() < often:
            kept.add(step.number)
    return Cut(frozenset(kept), torn, chance.choice((0, 1 + chance.randrange(1000))))


def plan(
    records: Iterable[Record], root: Path, states: int, seed: int, start: Path | None = None
) -> list[tuple[int, Cut]]:
    """Draw `states` different (moment, cut) of a tape, in the order of the moments."""
    chance = random.Random(seed)
    seen: set[tuple[object, ...]] = set()
    drawn: list[tuple[int, Cut]] = []
    disk = Disk(root, start)
    # The disk changes by what becomes durable: a step that is added leaves the old cuts alone.
    for moment, _ in enumerate(disk.play(records)):
        for cut in candidates(disk, chance):
            torn = tuple(sorted(cut.torn.items()))
            key = (len(disk.notes), disk.settled, cut.kept, torn)
            if key not in seen:
                seen.add(key)
                drawn.append((moment, cut))
    if len(drawn) > states:
        drawn = [drawn[i] for i in sorted(chance.sample(range(len(drawn)), states))]
    return drawn
