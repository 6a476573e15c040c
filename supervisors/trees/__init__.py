"""A node's supervision tree, its settings, its logs and its metrics."""
