"""All mutations, in the order of the table."""

from __future__ import annotations

import mutants_client
import mutants_cluster
import mutants_durability
import mutants_membership
import mutants_order
import mutants_presence
import mutants_runtime
import mutants_storage
import mutants_supervisors
from mutation import Mutation

__all__ = ["MUTATIONS"]

MUTATIONS: list[Mutation] = [
    *mutants_durability.MUTATIONS,
    *mutants_order.MUTATIONS,
    *mutants_presence.MUTATIONS,
    *mutants_membership.MUTATIONS,
    *mutants_client.MUTATIONS,
    *mutants_cluster.MUTATIONS,
    *mutants_storage.MUTATIONS,
    *mutants_supervisors.MUTATIONS,
    *mutants_runtime.MUTATIONS,
]
