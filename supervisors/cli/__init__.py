"""The `palaver` command: run a node, talk, administer, measure, plan.

Exit codes: 0 done; 1 it could not be done, or a check or a promise failed; 2 wrong usage or
settings; 130 and 143 ended at once by a second SIGINT or SIGTERM.
"""

from __future__ import annotations


def main() -> None:
    """Run the command of this process' arguments, and exit."""
    # The commands are imported only here: the package's modules are also used without them.
    from palaver.supervisors.cli.app import run

    run()
