"""How expressions are computed, how queries are planned, and how plans are run.

Pure code: it reads through a `Source` that is handed in, and knows no table and no disk.
"""
