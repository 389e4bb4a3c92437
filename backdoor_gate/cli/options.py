"""Options that several commands have, each defined once: policy, clean images, registry, device and reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from backdoor_gate.cli.kinds import clean_images

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from click.shell_completion import CompletionItem

C = TypeVar("C", bound="Callable[..., Any]")

IN_PLACE = "Clean images, in place of the policy's: npz, folder tree or artifact URI."


def policy_option(words: str, *, required: bool = True) -> Callable[[C], C]:
    """Return the option `--policy FILE`, as `policy_file`; `words` say what the policy is for."""
    return click.option(
        "--policy", "policy_file", type=click.Path(path_type=Path), required=required, metavar="FILE", help=words
    )


def data_option(words: str = IN_PLACE) -> Callable[[C], C]:
    """Return the option `--data PATH`: an artifact URI or an absolute path."""
    return click.option("--data", metavar="PATH", callback=clean_images, help=words)


def report_option(
    read: Callable[[click.Context, click.Parameter, tuple[str, ...]], object],
    complete: Callable[[click.Context, click.Parameter, str], list[CompletionItem]],
    words: str,
) -> Callable[[C], C]:
    """Return the option `--report FORMAT=PATH`, as `reports`; `read` and `complete` know the formats."""
    return click.option(
        "--report",
        "reports",
        metavar="FORMAT=PATH",
        multiple=True,
        callback=read,
        shell_complete=complete,
        help=f"{words} May be given several times.",
    )


device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
tracking_option = click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True, metavar="URI", help="MLflow store."
)


def measuring_options(command: C) -> C:
    """Give a command the options that say where a scan runs, with which seed, and which registry it asks."""
    seed = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N")
    return device_option(seed(tracking_option(command)))
