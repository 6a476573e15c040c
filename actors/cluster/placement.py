"""Which nodes keep a replica of which partition: balanced, within islands, with little movement.

Nodes are put into *islands*, and a partition's replicas are all in one of them. So a node shares
partitions with the few nodes of its island, however many there are in the cluster; a second and a
third failure lose a partition only if they hit the same island. An island is a group for placement,
not for messages: any node talks to any other.

`place` goes on from a placement that there is and changes as little as balance allows:

* islands keep their nodes; new nodes first fill islands that are not full, then make new ones; an
  island that has become too small for its replicas is dissolved;
* islands hold partitions in proportion to their nodes;
* within an island, the nodes' numbers of replicas differ by at most one;
* the nodes that are preferred as owners are spread as evenly as the replicas allow.

It is a plain function of its arguments, so any node comes to the same result.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from itertools import permutations

from palaver.actors.cluster.records import Placement

__all__ = ["islands_of", "place"]

_Rows = dict[int, list[str]]


def place(
    nodes: Collection[str],
    partitions: int,
    *,
    replicas: int = 3,
    island: int = 5,
    current: Placement | None = None,
) -> Placement:
    """Place the replicas of all partitions on some nodes.

    Args:
        nodes: those that are to have a share; at least one.
        partitions: how many there are.
        replicas: how many nodes keep each; with fewer nodes, all of them do.
        island: how many nodes an island is made of; it has up to `island + replicas - 1`.
        current: what there is, to be changed as little as possible.

    Returns:
        The placement, of the next version; `current` itself if nothing is to be changed.
    """
    if not nodes or replicas < 1 or island < replicas:
        raise ValueError("a placement needs nodes, replicas, and islands of at least so many")
    members = sorted(set(nodes))
    islands = islands_of(members, replicas, island, () if current is None else current.islands)
    rows = (
        [[] for _ in range(partitions)]
        if current is None
        else [list(each) for each in current.partitions]
    )
    if len(rows) != partitions:
        raise ValueError(f"the cluster has {len(rows)} partitions, not {partitions}")
    homes = _homes(rows, islands)
    placed: _Rows = {}
    for index, group in enumerate(islands):
        mine = {n: rows[n] for n in range(partitions) if homes[n] == index}
        _balance_replicas(mine, group, min(replicas, len(group)))
        _balance_owners(mine, group)
        placed.update(mine)
    result = tuple(tuple(placed[n]) for n in range(partitions))
    if current is not None and (islands, result) == (current.islands, current.partitions):
        return current
    return Placement(1 if current is None else current.version + 1, islands, result)


# -- islands -----------------------------------------------------------------------------------


def islands_of(
    nodes: Sequence[str],
    replicas: int,
    island: int,
    current: Iterable[Sequence[str]] = (),
) -> tuple[tuple[str, ...], ...]:
    """Put nodes into islands, going on from those that there are."""
    left = dict.fromkeys(sorted(nodes))
    groups: list[list[str]] = []
    for each in current:
        kept = [name for name in each if name in left]
        for name in kept:
            del left[name]
        if kept:
            groups.append(kept)
    # Those of an island that is too small go where the new ones go.
    for group in sorted(groups, key=len):
        if len(group) < replicas and len(groups) > 1:
            groups.remove(group)
            left.update(dict.fromkeys(group))
    waiting = sorted(left)
    while waiting:
        smallest = min(groups, key=len, default=None)
        if smallest is not None and len(smallest) < island:
            smallest.append(waiting.pop(0))
        elif smallest is None or len(waiting) >= replicas:
            groups.append([waiting.pop(0) for _ in range(min(replicas, len(waiting)))])
        elif len(smallest) < island + replicas - 1:
            smallest.append(waiting.pop(0))
        else:  # all are full: the largest gives some to a new one, and stays one itself
            largest = max(groups, key=len)
            some = [largest.pop() for _ in range(replicas - len(waiting))]
            groups.append([*waiting, *sorted(some)])
            waiting = []
    return tuple(tuple(group) for group in groups)


def _homes(rows: Sequence[Sequence[str]], islands: Sequence[Sequence[str]]) -> list[int]:
    """The island of each partition: where most of it is, as long as there is room."""
    room = _shares(len(rows), [len(group) for group in islands])
    of = {name: index for index, group in enumerate(islands) for name in group}
    homes = [-1] * len(rows)

    def there(n: int) -> tuple[int, int]:
        count = Counter(of[name] for name in rows[n] if name in of)
        return max(((many, -index) for index, many in count.items()), default=(0, 0))

    # Those that would have to move most of their replicas choose first.
    for n in sorted(range(len(rows)), key=lambda n: (-there(n)[0], n)):
        many, index = there(n)
        if many and room[-index] > 0:
            homes[n] = -index
            room[-index] -= 1
    for n, home in enumerate(homes):
        if home < 0:
            homes[n] = index = max(range(len(islands)), key=lambda each: (room[each], -each))
            room[index] -= 1
    return homes


def _shares(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide a number in proportion to sizes; the largest remainders get what is left over."""
    whole = sum(sizes)
    shares = [total * size // whole for size in sizes]
    by_rest = sorted(range(len(sizes)), key=lambda i: (-(total * sizes[i] % whole), i))
    for index in by_rest[: total - sum(shares)]:
        shares[index] += 1
    return shares


# -- within an island --------------------------------------------------------------------------


def _balance_replicas(rows: _Rows, group: Sequence[str], replicas: int) -> None:
    """Give each partition as many replicas as it needs, and each node its share of them."""
    count = Counter(dict.fromkeys(group, 0))
    kept: dict[int, set[str]] = {}
    for n, nodes in rows.items():
        nodes[:] = [name for name in nodes if name in count]
        count.update(nodes)
        kept[n] = set(nodes)
    together = Counter(pair for nodes in rows.values() for pair in permutations(nodes, 2))
    for nodes in rows.values():
        while len(nodes) > replicas:
            # The owner stays; else the one who has most.
            spare = max(nodes[1:] or nodes, key=lambda name: (count[name], name))
            nodes.remove(spare)
            count[spare] -= 1
        while len(nodes) < replicas:
            # Of those that have least, one that has little in common with the others so far: so
            # what a node leaves behind when it goes can be shared by all.
            few = min(count[name] for name in group if name not in nodes)
            some = min(
                (name for name in group if name not in nodes and count[name] == few),
                key=lambda name: (sum(together[name, other] for other in nodes), name),
            )
            together.update(pair for other in nodes for pair in ((some, other), (other, some)))
            nodes.append(some)
            count[some] += 1
    while rows:
        most = max(group, key=lambda name: (count[name], name))
        least = min(group, key=lambda name: (count[name], name))
        if count[most] - count[least] <= 1:
            return
        # There is one, since `most` has more. Rather one that `most` has only just been given,
        # or that `least` had before; and rather one that `most` is not to own.
        n = max(
            (n for n, nodes in rows.items() if most in nodes and least not in nodes),
            key=lambda n: (most not in kept[n], least in kept[n], rows[n].index(most), -n),
        )
        nodes = rows[n]
        nodes[nodes.index(most)] = least
        count[most] -= 1
        count[least] += 1


def _balance_owners(rows: _Rows, group: Sequence[str]) -> None:
    """Put the owners first in their rows, so that each node is that of about as many."""
    while True:
        count = Counter(dict.fromkeys(group, 0))
        for nodes in rows.values():
            count[nodes[0]] += 1
        if not _shift(rows, count):
            return


def _shift(rows: _Rows, count: Counter[str]) -> bool:
    """Pass one ownership on, over as few others as need be, to one who owns at least two less."""
    owned: dict[str, list[list[str]]] = {name: [] for name in count}
    for n in sorted(rows):
        owned[rows[n][0]].append(rows[n])
    for start in sorted(count, key=lambda name: (-count[name], name)):
        came: dict[str, list[str] | None] = {start: None}
        queue = deque([start])
        while queue:
            name = queue.popleft()
            if count[name] <= count[start] - 2:
                while (row := came[name]) is not None:
                    before = row[0]
                    row.remove(name)
                    row.insert(0, name)
                    name = before
                return True
            for row in owned[name]:
                for other in row[1:]:
                    if other not in came:
                        came[other] = row
                        queue.append(other)
    return False
