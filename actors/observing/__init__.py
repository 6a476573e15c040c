"""Seeing in: the supervision tree, processes and their states, as data; tracing."""
