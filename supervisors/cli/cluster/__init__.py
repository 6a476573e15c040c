"""`palaver cluster`: to see into a cluster of nodes, and to change it."""
