"""`palaver bench cluster`: what nodes and their replicas do, beside the bare parts, in one run."""
