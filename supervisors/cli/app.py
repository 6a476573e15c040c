"""The command line as a whole: which commands there are, and how their errors look."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, NoReturn

import typer

from palaver.supervisors.cli.bench import bench_app
from palaver.supervisors.cli.chat import chat_command
from palaver.supervisors.cli.cluster.app import cluster_app
from palaver.supervisors.cli.data import backup_command, check_command, restore_command
from palaver.supervisors.cli.demo import demo_command
from palaver.supervisors.cli.estimate_command import estimate_command
from palaver.supervisors.cli.options import help_of
from palaver.supervisors.cli.output import EXIT_FAILED, CommandError, console, print_error
from palaver.supervisors.cli.serve import serve_command
from palaver.supervisors.cli.settings_command import settings_command
from palaver.supervisors.cli.simulate import simulate_command
from palaver.supervisors.cli.tables import tables_app
from palaver.supervisors.cli.top import top_command
from palaver.supervisors.cli.user import user_app
from palaver.transport.http.admin_port import AdminRefused

app = typer.Typer(
    name="palaver",
    help="Palaver: a durable messaging system on supervised actors.",
    epilog="Begin with [bold]palaver serve[/] in one terminal and [bold]palaver chat[/] in"
    " another, or let [bold]palaver demo[/] show it all.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN, _OPERATE, _PLAN = "Run and talk", "Operate", "Measure and plan"
for _name, _command, _panel in (
    ("serve", serve_command, _RUN),
    ("chat", chat_command, _RUN),
    ("demo", demo_command, _RUN),
    ("top", top_command, _OPERATE),
    ("settings", settings_command, _OPERATE),
    ("check", check_command, _OPERATE),
    ("backup", backup_command, _OPERATE),
    ("restore", restore_command, _OPERATE),
    ("estimate", estimate_command, _PLAN),
    ("simulate", simulate_command, _PLAN),
):
    app.command(_name, help=help_of(_command), rich_help_panel=_panel)(_command)
app.add_typer(user_app, name="user", rich_help_panel=_OPERATE)
app.add_typer(cluster_app, name="cluster", rich_help_panel=_OPERATE)
app.add_typer(tables_app, name="tables", rich_help_panel=_OPERATE)
app.add_typer(bench_app, name="bench", rich_help_panel=_PLAN)


def palaver_version() -> str:
    """The installed version."""
    try:
        return version("palaver")
    except PackageNotFoundError:
        return "unknown"


@app.command("version", rich_help_panel=_PLAN)
def version_command() -> None:
    """Print the versions of Palaver and of what it stands on."""
    out = console()
    out.print(f"palaver {palaver_version()}")
    out.print(f"[dim]{platform.python_implementation()} {platform.python_version()}[/]")
    for name in ("aiohttp", "cbor2", "lmdb", "obstore", "uvloop", "websockets"):
        try:
            out.print(f"[dim]{name} {version(name)}[/]")
        except PackageNotFoundError:
            out.print(f"[dim]{name} not installed[/]")


def _print_version(wanted: bool) -> None:
    if wanted:
        console().print(f"palaver {palaver_version()}")
        raise typer.Exit


@app.callback()
def _top(
    _: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def run() -> NoReturn:
    """Run the command of `sys.argv`; its errors become one line on stderr and an exit code."""
    try:
        app()
    except CommandError as error:
        print_error(error.text, error.hint)
        sys.exit(error.code)
    except AdminRefused as refused:
        print_error(refused.text)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Who read our output has gone (`| head`): nothing more to say, not even while closing.
        sys.stdout = None
    sys.exit(EXIT_FAILED)
