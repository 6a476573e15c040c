"""Runs Thespian's own test suite on our system base and on Thespian's simple one, and compares.

    python tests/thespian/conform.py            both bases, every test (make conform-thespian)
    python tests/thespian/conform.py --quick    ours alone, without the slowest tests; what the
                                                simple base passes is read from simple_passes.txt
    python tests/thespian/conform.py --record   both, and write simple_passes.txt anew

A test that the simple base passes and ours does not is a failure, however ours gets out of it.
Nearly all of the time is spent in the tests' own sleeps, so two processes share the test files.
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
PASSES = HERE / "simple_passes.txt"
OURS, SIMPLE = "palaverBase", "simpleSystemBase"
PROCESSES = 2
TEST_S = 120  # one test may take so long
RUN_S = 900

# About how long these files take on either base; the others take a few seconds or less.
SECONDS = {
    "test_troupe.py": 80,
    "test_threadedExternal.py": 50,
    "test_updateSystemCapabilities.py": 60,
    "test_sourceLoading.py": 50,
    "test_deadLettering.py": 25,
    "test_actorFailures.py": 20,
    "test_runcommand.py": 18,
    "test_manyActorSystems.py": 15,
    "test_threadedActor.py": 15,
    "test_wakeup.py": 10,
    "test_HAConvention.py": 10,
}

# Left out by --quick: they take more than three seconds each, and sleep.
SLOW = (
    "testSmallHive",
    "testSingleBee",
    "testColony",
    "testLoadableHive",
    "testLoadableColony",
    "test04_DLMultipleHandlers",
    "test14_DLMultipleHandlers",
    "test05_removingColor",
    "test05_1_removingColor",
    "test06_removingColor",
    "test09_removingCapabilityTwice",
    "test12_updateCapabilities",
    "test_multiple_threads_private_context",
    "test02_verifyNotification",
)


@dataclass
class Outcome:
    """What came of a run of one base: by test, and how long it took."""

    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def names(self, outcome: str) -> list[str]:
        return [name for name, test in self.tests.items() if test["outcome"] == outcome]


def shares() -> list[list[Path]]:
    """The test files, shared out among the processes: the longest first, to whom has least."""
    files = sorted(Path(thespian.test.__file__).parent.glob("test_*.py"))
    files.sort(key=lambda path: -SECONDS.get(path.name, 1))
    parts: list[list[Path]] = [[] for _ in range(PROCESSES)]
    loads = [0] * PROCESSES
    for path in files:
        least = loads.index(min(loads))
        parts[least].append(path)
        loads[least] += SECONDS.get(path.name, 1)
    return parts


def run(base: str, *, quick: bool = False) -> Outcome:
    """Run the suite on one base, in processes of their own, with their own configuration."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "pytest.ini")
        config.write_text("[pytest]\n")
        runs = []
        for index, files in enumerate(shares()):
            report = Path(folder, f"report-{index}.json")
            output = Path(folder, f"output-{index}.txt")
            with output.open("w") as sink:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "pytest", "-q", "-c", str(config)),
                        *("-p", "conform_plugin", "-p", "no:cacheprovider"),
                        *("--timeout", str(TEST_S), "--rootdir", str(files[0].parent)),
                        *(["-k", " and ".join(f"not {slow}" for slow in SLOW)] * quick),
                        *map(str, files),
                    ],
                    env=environment(base, report),
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                )
            runs.append((process, report, output))
        for process, report, output in runs:
            collect(outcome, process, report, output)
    return outcome


def environment(base: str, report: Path) -> dict[str, str]:
    found = {**os.environ, "CONFORM_BASE": base, "CONFORM_REPORT": str(report)}
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
    options.add_argument("--record", action="store_true", help="write simple_passes.txt anew")
    chosen = options.parse_args()
    version = metadata.version("thespian")
    ours = run(OURS, quick=chosen.quick)
    if chosen.quick:
        recorded = PASSES.read_text().splitlines()
        if recorded[0] != f"# thespian {version}":
            print(f"{PASSES.name} is of another version than thespian {version}: use --record")
            return 2
        simple_passes = {name for name in recorded if not name.startswith("#")}
        problems = ours.problems
    else:
        simple = run(SIMPLE)
        simple_passes = set(simple.names("passed"))
        problems = ours.problems + simple.problems
        if chosen.record:
            PASSES.write_text("\n".join([f"# thespian {version}", *sorted(simple_passes)]) + "\n")
        print(f"{SIMPLE}: {len(simple_passes)} passed in {simple.seconds:.0f} s")
    failed = failures(ours, simple_passes, quick=chosen.quick)
    failed.update({f"run {index}": problem for index, problem in enumerate(problems, 1)})
    print("\n".join(table(ours, simple_passes, failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
