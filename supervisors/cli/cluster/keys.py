"""`palaver cluster keys`: what nodes of a cluster know each other by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palaver.supervisors.cli.options import JsonOption
from palaver.supervisors.cli.output import CommandError, console, print_json
from palaver.supervisors.trees import settings_values as read
from palaver.supervisors.trees.cluster_keys import Authority, ClusterKeysWrong

__all__ = ["keys_command", "make_keys"]

_AUTHORITY = "authority"


def keys_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the keys are kept.")],
    nodes: Annotated[
        list[str], typer.Argument(metavar="NODE...", help="Names of nodes, name@host.")
    ],
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="The cluster's name; needed the first time."
        ),
    ] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            show_default=False,
            help="A further name or address of the node, whose keys are made alone.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make keys for nodes of a cluster, or renew them.

    The first time it makes the cluster's authority in FOLDER/authority: keep that away from the
    nodes, for who has it can add nodes. Each node gets FOLDER/NAME@HOST: copy that to its machine
    and name it by cluster_keys. Its certificate is for the host in its name, and for --host.
    """
    if hosts and len(nodes) > 1:
        raise CommandError("--host belongs to one node", "call it once for each node")
    try:
        for node in nodes:
            read.node_name(node)
        made = [make_keys(folder, node, hosts or [], cluster) for node in nodes]
    except ValueError as error:
        raise CommandError(f"the name of a node must be {error}") from None
    except (ClusterKeysWrong, OSError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({node: str(place) for node, place in zip(nodes, made, strict=True)})
        return
    out = console()
    for node, place in zip(nodes, made, strict=True):
        out.print(f"keys of {node} are in {place}")
    out.print(f"[dim]the authority is in {folder / _AUTHORITY}: keep it away from the nodes[/]")


def make_keys(folder: Path, node: str, hosts: list[str], cluster: str | None = None) -> Path:
    """Make or renew the keys of a node; the folder that its `cluster_keys` names.

    Raises:
        ClusterKeysWrong: keys that are there are damaged, or another cluster's.
        OSError: the folder cannot be written to.
    """
    place = folder / _AUTHORITY
    if (place / "ca.key").exists():
        authority = Authority.open(place)
        if cluster not in (None, authority.cluster):
            raise ClusterKeysWrong(
                f"{folder} has the keys of cluster {authority.cluster}; name another folder"
            )
    elif cluster is None:
        raise ClusterKeysWrong(f"{folder} has no authority yet; name the cluster with --cluster")
    else:
        authority = Authority.make(place, cluster)
    mine = folder / node
    authority.make_node(mine, node, dict.fromkeys([node.partition("@")[2], *hosts]))
    return mine
