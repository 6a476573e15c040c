"""Actors: the runtime, and what Palaver itself builds on it."""
