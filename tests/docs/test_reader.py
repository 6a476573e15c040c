"""The reader of pages keeps to its convention, and finds what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Program, printed, programs_of
from test_pages import exists, named_tests

PAGE = """\
# A page

```python
# shop.py
PRICE = 3
```

Text in between.

```python
from shop import PRICE

print(PRICE)
```

```text
3
```

<!-- not run: a part of something -->
```python
await nothing
```

```text
not the output of anything
```

```python
first = 1
```

<!-- continues -->

```python
print(first + 1)
```

```console
$ ls
```

```text
not its output
```

```python
print(2)
```

Other words.

```text
nor this
```
"""


@pytest.fixture
def programs(tmp_path: Path) -> list[Program]:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    return programs_of(page)


def test_blocks_become_programs(programs: list[Program]) -> None:
    assert [program.name for program in programs] == ["shop.py", *["program.py"] * 3]
    assert [program.prints for program in programs] == [None, "3\n", None, None]
    assert programs[2].source == "first = 1\nprint(first + 1)\n"
    assert [str(program) for program in programs] == ["page:3", "page:10", "page:29", "page:47"]


def test_a_program_may_import_what_was_saved_before(
    programs: list[Program], tmp_path: Path
) -> None:
    assert programs[1].run(tmp_path) == "3\n"


def test_a_program_that_fails_or_warns_is_found(tmp_path: Path) -> None:
    for source in ("1 / 0\n", "import warnings\nwarnings.warn('old')\n"):
        with pytest.raises(AssertionError, match="Traceback"):
            Program(tmp_path, 1, source).run(tmp_path)


def test_what_is_printed_is_compared() -> None:
    assert printed("a\nb\n", "a\nb")
    assert printed("at 12:30: a crash\nin line 7\n", "…a crash\nin line …\n")
    assert not printed("a\nb\n", "a")
    assert not printed("one crash\n", "… crashes")


def test_the_shorthand_of_tests(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "## One\n`test_a.py::test_x…`, `…test_y`, `test_b.py`, `…test_z_…`\n"
        "## Two\n`tests/c/test_c.py::test_w`, `…test_v`\n"
    )
    assert list(named_tests(page)) == [
        (["test_a.py"], "test_x…"),
        (["test_a.py"], "test_y"),
        (["test_b.py"], ""),
        (["test_a.py", "test_b.py"], "test_z_…"),
        (["tests/c/test_c.py"], "test_w"),
        (["tests/c/test_c.py"], "test_v"),
    ]
    assert exists("test_x…", {"test_xyz"})
    assert not exists("test_x", {"test_xyz"})
    assert not exists("", set())
