"""Which partition a key belongs to: stable over processes, versions and machines.

The partition of a key is the number in the top N bits of the BLAKE2b hash (8 bytes of digest, no
key, no salt, no personalisation) of the key's bytes, where the store has 2^N partitions. Written
down because it is part of the folder's format: every program that opens a store must agree. Top
bits are used so that doubling the partitions would split each into two neighbours.
"""

from __future__ import annotations

from hashlib import blake2b

MAX_PARTITIONS = 256
"""Each partition costs an LMDB environment and a writer thread."""


def check_partitions(partitions: int) -> int:
    """Return `partitions` when it is a power of two within the limit; ValueError otherwise."""
    if not 1 <= partitions <= MAX_PARTITIONS or partitions & (partitions - 1):
        raise ValueError(
            f"partitions must be a power of two from 1 to {MAX_PARTITIONS}, not {partitions}"
        )
    return partitions


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition (0-based) that `key` belongs to among `partitions` = 2^N."""
    if partitions == 1:
        return 0
    digest = int.from_bytes(blake2b(key, digest_size=8).digest(), "big")
    return digest >> (65 - partitions.bit_length())
