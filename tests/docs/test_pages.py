"""The pages say what is so: programs run, links lead somewhere, tests that are named exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, Program, printed, programs_of

DOCS = ROOT / "docs"
TESTS = ROOT / "tests"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])

# Pages of whole programs. The others show parts of some.
WHOLE = [
    "tutorial",
    "from-erlang",
    "from-asyncio",
    "names",
    "supervision",
    "observing",
    "tables",
    "queries",
    "simulation",
]
PROGRAMS = [
    program
    for page in (*(DOCS / f"{name}.md" for name in WHOLE), ROOT / "README.md")
    for program in programs_of(page)
]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_program_runs_and_prints_what_the_page_says(program: Program, tmp_path: Path) -> None:
    said = program.run(tmp_path)
    if program.prints is not None:
        assert printed(said, program.prints), said


@pytest.mark.parametrize("name", WHOLE)
def test_a_page_has_programs(name: str) -> None:
    assert any(program.page.stem == name for program in PROGRAMS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_is_python(page: Path) -> None:
    for program in programs_of(page):
        compile(program.source, str(program), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


# -- links -----------------------------------------------------------------------------------------


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub makes it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", link):
            continue  # another site
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"`((?:docs|examples|tests)/[\w/.-]*\w\.\w+)\b", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


# -- tests -----------------------------------------------------------------------------------------

NAMED_TEST = re.compile(
    r"`(?:(?P<file>(?:tests/\w+/)?test_\w+\.py)(?:::(?P<name>test_\w+…?))?|…(?P<same>test_\w+…?))`"
)


def named_tests(page: Path) -> Iterator[tuple[list[str], str]]:
    """The tests that a page names: the files that one may be in, and its name, "" for a whole file.

    `test_x.py::test_y` names one; `…test_z` one of a file that was named before in its section. A
    name that ends in `…` stands for any that begins so.
    """
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE):
        files: list[str] = []
        for found in NAMED_TEST.finditer(section):
            if found["file"]:
                files.append(found["file"])
                yield files[-1:], found["name"] or ""
            else:
                yield list(files), found["same"]


def defined_tests() -> dict[str, set[str]]:
    """The tests of every file, by the file's name and by its path."""
    tests: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        names = re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
        for key in (path.name, str(path.relative_to(ROOT))):
            tests.setdefault(key, set()).update(names)
    return tests


def exists(name: str, tests: set[str]) -> bool:
    if name == "" or name.endswith("…"):
        return any(test.startswith(name.rstrip("…")) for test in tests)
    return name in tests


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_that_is_named_exists(page: Path) -> None:
    defined = defined_tests()
    missing = [
        name or files[0]
        for files, name in named_tests(page)
        if not any(exists(name, defined.get(file, set())) for file in files)
    ]
    assert not missing


def test_the_guarantees_are_read() -> None:
    assert sum(1 for _ in named_tests(DOCS / "semantics.md")) > 100
