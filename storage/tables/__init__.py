"""Mnesia-like tables: typed records, transactions, indexes, events, backups.

The names here are the package's face; the modules are its rooms.
"""
