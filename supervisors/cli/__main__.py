"""`python -m palaver.supervisors.cli` is the command `palaver`."""

from __future__ import annotations

from palaver.supervisors.cli import main

if __name__ == "__main__":
    main()
