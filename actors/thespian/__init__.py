"""Thespian's API on this runtime."""
