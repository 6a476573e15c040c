"""Where settings come from: a TOML file, the environment, flags; each value with its source.

Later sources win. Unknown keys of the file and of flags are errors, so a misspelling never passes
in silence.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from palaver.supervisors.trees.settings import (
    ENVIRONMENT_PREFIX,
    Problem,
    Settings,
    SettingsError,
    explain,
    keys,
)

# Variables of the commands: they are no settings of a node.
_OTHER_VARIABLES = frozenset({"PALAVER_CONFIG", "PALAVER_HOME", "PALAVER_URL"})
_GROUPS = frozenset({"node", "connections", "storage", "accounts"})
_MAX_CONFIG_BYTES = 1 << 20


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    assignments: Sequence[str] = (),
) -> Settings:
    """Settings from a file, the environment and flags, the later winning.

    `config` is a TOML file, or None for the one that `PALAVER_CONFIG` names, if it does. `environ`
    is the process' environment where it is not given. `flags` are values by key; None means not
    given. `assignments` are texts `KEY=VALUE` of the flag `--set`, and win over everything.

    Raises:
        SettingsError: with every problem of every source.
    """
    environ = os.environ if environ is None else environ
    if config is None and environ.get("PALAVER_CONFIG"):
        config = Path(environ["PALAVER_CONFIG"])
    known = {key.name: key for key in keys()}
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    given = [
        *_from_file(config, problems),
        *_from_environment(environ, known),
        *((n, raw, _flag(n)) for n, raw in (flags or {}).items() if raw is not None),
        *_from_assignments(assignments, problems),
    ]
    for name, raw, source in given:
        key = known.get(name)
        if key is None:
            problems.append(Problem(source, f"there is no setting {name!r}{_nearest(name, known)}"))
            continue
        try:
            values[name] = key.read(raw)
        except ValueError as error:
            problems.append(Problem(source, explain(name, error, raw)))
        else:
            sources[name] = source
    if problems:
        raise SettingsError([str(p) for p in problems])
    try:
        return Settings(**values)  # type: ignore[arg-type]  # each was read by its own reader
    except SettingsError as error:
        raise SettingsError([_with_source(text, sources) for text in error.problems]) from None


def _flag(name: str) -> str:
    return "--data" if name == "data_dir" else "--" + name.replace("_", "-")


def _from_assignments(
    assignments: Sequence[str], problems: list[Problem]
) -> Iterator[tuple[str, object, str]]:
    for text in assignments:
        name, equals, raw = text.partition("=")
        name = name.strip().replace("-", "_")
        if equals:
            yield name, raw.strip(), f"--set {name}"
        else:
            problems.append(Problem(f"--set {text}", "must have the form KEY=VALUE"))


def _from_file(config: Path | None, problems: list[Problem]) -> Iterator[tuple[str, object, str]]:
    if config is None:
        return
    try:
        if config.stat().st_size > _MAX_CONFIG_BYTES:
            problems.append(Problem(f"file {config}", "is larger than 1 MiB; is it the right one?"))
            return
        table = tomllib.loads(config.read_text("utf-8"))
    except FileNotFoundError:
        problems.append(Problem(f"file {config}", "does not exist; make it or leave --config out"))
    except OSError as error:
        problems.append(Problem(f"file {config}", f"cannot be read ({error.strerror})"))
    except UnicodeDecodeError:
        problems.append(Problem(f"file {config}", "is not UTF-8 text"))
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(f"file {config}", f"is not TOML: {error}"))
    else:
        for name, value in _flatten(table):
            yield name, value, f"file {config}, key {name}"


def _flatten(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    # `[media]` / `quota_bytes` and `media_quota_bytes` are one key; `[node]`, `[connections]`,
    # `[storage]` and `[accounts]` only group, as the sections of the documentation do.
    for name, value in table.items():
        plain = name.replace("-", "_")
        if isinstance(value, dict):
            group = "" if plain in _GROUPS else f"{prefix}{plain}_"
            yield from _flatten(value, group)
        else:
            yield prefix + plain, value


def _from_environment(
    environ: Mapping[str, str], known: Collection[str]
) -> Iterator[tuple[str, object, str]]:
    for variable, raw in sorted(environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _OTHER_VARIABLES:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        # A platform may set PALAVER_... variables of its own (Kubernetes does for a service of
        # this name), so an unknown one is an error only where it looks like a misspelled key.
        if name in known or difflib.get_close_matches(name, known, n=1, cutoff=0.85):
            yield name, raw, f"environment {variable}"


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return "; `palaver settings` lists all"


def _with_source(text: str, sources: Mapping[str, str]) -> str:
    name, _, rest = text.partition(": ")
    return f"{sources.get(name, name)}: {rest}"
