"""Runs Thespian's own test suite on our system base and on Thespian's simple one, and compares.

    python tests/thespian/conform.py            both bases, every test (make conform-thespian)
    python tests/thespian/conform.py --quick    ours alone, without the slowest tests; what the
                                                simple base passes is read from recorded.json
    python tests/thespian/conform.py --record   both, and write recorded.json anew

A test that the simple base passes and ours does not is a failure, however ours gets out of it.
Nearly all of the time is spent in the tests' own sleeps, so two processes share the test files.
Their own deadlines are as short as 0.2 s, which a busy machine misses: what fails is run once more,
alone, and the table names it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import thespian.test

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.json"
OURS, SIMPLE = "palaverBase", "simpleSystemBase"
PROCESSES = 2
TEST_S = 120  # one test may take so long
RUN_S = 900

NOTABLE_S = 0.3
"""What takes less is not recorded."""

SLOW_S = 1.9
"""What takes longer is left out by --quick: it only sleeps longer."""


@dataclass
class Outcome:
    """What came of a run of one base: by test, and how long it took."""

    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def names(self, outcome: str) -> list[str]:
        return [name for name, test in self.tests.items() if test["outcome"] == outcome]


@dataclass
class Recorded:
    """What was found out by --record: which tests the simple base passes, how long ours takes."""

    thespian: str = ""
    simple_passes: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Recorded:
        if not RECORDED.exists():
            return cls()
        found = json.loads(RECORDED.read_text())
        return cls(found["thespian"], set(found["simple_passes"]), found["seconds"])

    def write(self) -> None:
        found = {
            "thespian": self.thespian,
            "simple_passes": sorted(self.simple_passes),
            "seconds": {name: self.seconds[name] for name in sorted(self.seconds)},
        }
        RECORDED.write_text(json.dumps(found, indent=1) + "\n")

    @property
    def slow(self) -> list[str]:
        return [name for name, seconds in self.seconds.items() if seconds >= SLOW_S]


def shares(recorded: Recorded, left_out: list[str]) -> list[list[Path]]:
    """The test files, shared out among the processes: the longest first, to whom has least."""
    files = sorted(Path(thespian.test.__file__).parent.glob("test_*.py"))
    takes = {path.name: 1.0 for path in files}
    for name, seconds in recorded.seconds.items():
        if name not in left_out:
            takes[name.partition("::")[0]] = takes.get(name.partition("::")[0], 1.0) + seconds
    files.sort(key=lambda path: -takes[path.name])
    parts: list[list[Path]] = [[] for _ in range(PROCESSES)]
    loads = [0.0] * PROCESSES
    for path in files:
        least = loads.index(min(loads))
        parts[least].append(path)
        loads[least] += takes[path.name]
    return parts


def run(base: str, recorded: Recorded, *, quick: bool = False) -> Outcome:
    """Run the suite on one base, and once more what failed."""
    left_out = recorded.slow if quick else []
    outcome = run_once(base, shares(recorded, left_out), left_out)
    outcome.again = outcome.names("failed")
    if outcome.again:
        folder = Path(thespian.test.__file__).parent
        files = sorted({folder / name.partition("::")[0] for name in outcome.again})
        others = [name for name in outcome.tests if name not in outcome.again]
        second = run_once(base, [files], [*left_out, *others])
        outcome.tests.update(second.tests)
        outcome.problems += second.problems
        outcome.seconds += second.seconds
    return outcome


def run_once(base: str, parts: list[list[Path]], left_out: list[str]) -> Outcome:
    """Run test files, each part in a process of its own, with its own configuration."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "pytest.ini")
        config.write_text("[pytest]\n")
        left_out_file = Path(folder, "left_out.json")
        left_out_file.write_text(json.dumps(left_out))
        runs = []
        for index, files in enumerate(parts):
            report = Path(folder, f"report-{index}.json")
            output = Path(folder, f"output-{index}.txt")
            with output.open("w") as sink:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "pytest", "-q", "-c", str(config)),
                        *("-p", "conform_plugin", "-p", "no:cacheprovider"),
                        *("--timeout", str(TEST_S), "--rootdir", str(files[0].parent)),
                        *map(str, files),
                    ],
                    env=environment(base, report, left_out_file),
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                )
            runs.append((process, report, output))
        for process, report, output in runs:
            collect(outcome, process, report, output)
    return outcome


def environment(base: str, report: Path, left_out: Path) -> dict[str, str]:
    found = {
        **os.environ,
        "CONFORM_BASE": base,
        "CONFORM_REPORT": str(report),
        "CONFORM_LEFT_OUT": str(left_out),
    }
    found["PYTHONPATH"] = os.pathsep.join([str(HERE), found.get("PYTHONPATH", "")])
    found["PYTHONWARNINGS"] = "default"  # Thespian's own are not ours to judge
    # A test of Thespian's expects the output of a program that is killed to be lost.
    found.pop("PYTHONUNBUFFERED", None)
    return found


def collect(outcome: Outcome, process: subprocess.Popen[bytes], report: Path, output: Path) -> None:
    try:
        code = process.wait(RUN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = -9
    if report.exists():
        found = json.loads(report.read_text())
        outcome.tests.update(found["tests"])
        outcome.seconds = max(outcome.seconds, found["seconds"])
    if code not in (0, 1) or not report.exists():
        outcome.problems.append(f"pytest ended with {code}:\n{output.read_text()[-3000:]}")


def failures(ours: Outcome, simple_passes: set[str], *, quick: bool) -> dict[str, str]:
    """What failed, and what did not pass although it passes on the simple base."""
    found = {name: ours.tests[name]["reason"] for name in ours.names("failed")}
    for name in simple_passes:
        test = ours.tests.get(name)
        if test is None:
            if not quick:
                found[name] = f"passes on {SIMPLE}, and did not run on ours"
        elif test["outcome"] == "skipped":
            found[name] = f"passes on {SIMPLE}, and is skipped on ours: {test['reason']}"
    return found


def table(ours: Outcome, simple_passes: set[str], failed: dict[str, str]) -> list[str]:
    """The result, for people; the last line says it all."""
    passed = set(ours.names("passed"))
    skipped = set(ours.names("skipped")) - set(failed)
    lines = ["", f"{'file':42}{'passed':>8}{'skipped':>9}{'failed':>8}{'seconds':>9}"]
    for file in sorted({name.partition("::")[0] for name in ours.tests}):
        within = {name for name in ours.tests if name.partition("::")[0] == file}
        seconds = sum(ours.tests[name]["seconds"] for name in within)
        lines.append(
            f"{file:42}{len(within & passed):8}{len(within & skipped):9}"
            f"{len(within & set(failed)):8}{seconds:9.1f}"
        )
    lines += ["", "skipped, and why:"]
    reasons = Counter(ours.tests[name]["reason"].removeprefix("Skipped: ") for name in skipped)
    lines += [f"{count:6}  {reason}" for reason, count in reasons.most_common()]
    for name, reason in failed.items():
        lines += ["", f"FAILED {name}", reason]
    if ours.again:
        lines += ["", "run a second time, since they failed at first:"]
        lines += [f"        {name}" for name in ours.again]
    more = len(passed - simple_passes)
    lines += [
        "",
        (
            f"{len(passed & simple_passes)} of the {len(simple_passes)} tests that {SIMPLE} "
            f"passes, and {more} more, in {ours.seconds:.0f} s"
        ),
        f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped",
    ]
    return lines


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--quick", action="store_true", help="ours alone, without slow tests")
    options.add_argument("--record", action="store_true", help="write recorded.json anew")
    chosen = options.parse_args()
    version = metadata.version("thespian")
    recorded = Recorded.read()
    if chosen.quick and recorded.thespian != version:
        print(f"{RECORDED.name} is of thespian {recorded.thespian}, not {version}: use --record")
        return 2
    ours = run(OURS, recorded, quick=chosen.quick)
    problems = ours.problems
    simple_passes = recorded.simple_passes
    if not chosen.quick:
        simple = run(SIMPLE, recorded)
        simple_passes = set(simple.names("passed"))
        problems = ours.problems + simple.problems
        print(f"{SIMPLE}: {len(simple_passes)} passed in {simple.seconds:.0f} s")
    if chosen.record:
        took = {name: round(test["seconds"], 1) for name, test in ours.tests.items()}
        seconds = {name: found for name, found in took.items() if found >= NOTABLE_S}
        Recorded(version, simple_passes, seconds).write()
    failed = failures(ours, simple_passes, quick=chosen.quick)
    failed.update({f"run {index}": problem for index, problem in enumerate(problems, 1)})
    print("\n".join(table(ours, simple_passes, failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
