from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.storage.partitioning import MAX_PARTITIONS, check_partitions, partition_of

POWERS = [1 << n for n in range(9)]


def test_the_mapping_never_changes() -> None:
    """Literal values: a folder written by any version must be read alike by all."""
    keys = [b"", b"a", b"+491701234567", bytes(16), b"\xff" * 32]
    assert [[partition_of(key, n) for key in keys] for n in (1, 2, 16, 256)] == [
        [0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [14, 4, 10, 5, 2],
        [228, 64, 170, 82, 38],
    ]


@given(st.binary(max_size=64), st.sampled_from(POWERS[:-1]))
def test_doubling_splits_each_partition_into_two_neighbours(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions * 2) // 2 == partition_of(key, partitions)


@pytest.mark.parametrize("partitions", POWERS)
def test_every_partition_gets_its_share(partitions: int) -> None:
    found = Counter(partition_of(b"key %d" % n, partitions) for n in range(partitions * 200))
    assert set(found) == set(range(partitions))
    assert min(found.values()) > 120


@pytest.mark.parametrize("partitions", [-1, 0, 3, 6, MAX_PARTITIONS + 1, MAX_PARTITIONS * 2])
def test_only_powers_of_two_within_the_limit(partitions: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        check_partitions(partitions)
