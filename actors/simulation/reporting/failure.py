"""The report of a failing tape, and the exception that carries it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from palaver.actors.simulation.driving.runner import Runner
from palaver.actors.simulation.driving.tapes import RecordedTape
from palaver.actors.simulation.reporting.facts import Facts, gather
from palaver.actors.simulation.reporting.page import as_page
from palaver.actors.simulation.reporting.text import as_text, brief, replay_lines

if TYPE_CHECKING:
    from palaver.actors.simulation.driving.shrinking import Shrunk

__all__ = ["Report", "SimulationFailed"]


class Report:
    """What there is to say of a failing tape; it is run again, and watched, when first asked.

    Args:
        runner: Runs the scenario.
        tape: The shortest that fails.
        seed: The seed that was found to fail, if it was one.
        shrunk: How the tape became short.
        how: How to replay it, where the command cannot: the scenario has arguments.
        secrets: Show what servers hide (`Watch`).

    Attributes:
        page: Where the HTML page was saved, if it was.
    """

    def __init__(
        self,
        runner: Runner,
        tape: RecordedTape,
        *,
        seed: int | None = None,
        shrunk: Shrunk | None = None,
        how: str = "",
        secrets: bool = False,
    ) -> None:
        self.runner = runner
        self.tape = tape
        self.seed = seed
        self.shrunk = shrunk
        self.how = how
        self.secrets = secrets
        self.page: Path | None = None
        self._facts: Facts | None = None

    @property
    def facts(self) -> Facts:
        """What was seen; the first time, it is run for that."""
        if self._facts is None:
            self._facts = gather(self.runner, self.tape, secrets=self.secrets)
        return self._facts

    @property
    def hashes(self) -> tuple[int, int] | None:
        """Of two runs of one tape, which differ if any two that were made of one did."""
        if self.shrunk is None:
            return None
        if not self.shrunk.deterministic:
            return self.shrunk.hashes
        return (self.shrunk.outcome.hash, self.facts.outcome.hash)

    @property
    def text(self) -> str:
        """The report as text, at most 100 columns wide but for what the program says."""
        return as_text(self, self.facts)

    @property
    def html(self) -> str:
        """The report as one page that needs nothing else."""
        return as_page(self, self.facts)

    def save(self, path: Path | str) -> Path:
        """Write the page; its directory is made if it is missing."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html, "utf-8")
        self.page = path
        return path


class SimulationFailed(AssertionError):
    """A scenario failed; the text is the whole report.

    Attributes:
        report: The report.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report
        self._telling = False

    @property
    def tape(self) -> RecordedTape:
        """The tape that fails."""
        return self.report.tape

    def __str__(self) -> str:
        """The report's text; if it cannot be made, why, and how to replay the tape."""
        if self._telling:
            # An exception within the run that is reported has this one as its context.
            return f"{self.report.tape.scenario} failed"
        self._telling = True
        try:
            return self.report.text
        except Exception as error:  # noqa: BLE001 - the failure itself must not be lost
            why = f"(no report could be made: {brief(error)})"
            return "\n".join([f"{self.tape.scenario} failed", why, *replay_lines(self.report)])
        finally:
            self._telling = False
