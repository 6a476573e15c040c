"""`palaver bench tables`: the same work on Palaver's tables, bare LMDB, Mnesia and SQLite."""
