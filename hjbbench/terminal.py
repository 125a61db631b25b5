"""What the command line reads and prints as text, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.exceptions import Abort, TyperException

from hjbbench.errors import UserError


def parse_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """["sac.batch_size=64"] -> {"sac": {"batch_size": 64}}; raises UserError for another form."""
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        where, equals, value = text.partition("=")
        name, dot, key = where.partition(".")
        if not (equals and dot and name and key):
            raise UserError(f"--set: {text!r} is not understood; write agent.setting=value")
        try:
            settings.setdefault(name, {})[key] = json.loads(value)
        except ValueError:
            settings.setdefault(name, {})[key] = value
    return settings


def parse_factors(text: str) -> list[float]:
    """The text 0.5,1,2 -> [0.5, 1.0, 2.0]; raises UserError for what is not a positive number."""
    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError:
        factors = []
    if not factors or not all(0 < factor < float("inf") for factor in factors):
        raise UserError(f"--dt: {text!r} is not understood; write positive multiples like 0.5,1,2")
    return factors


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print dictionaries with the same keys as a table, wide enough to be cut by nothing but a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name)
    for row in rows:
        shown = ("" if v is None else f"{v:.5g}" if isinstance(v, float) else str(v) for v in row.values())
        table.add_row(*map(Text, shown))  # as text: results are not markup
    width = None if sys.stdout.isatty() else 200
    Console(width=width).print(table)


def exit_code(command: Callable[[], int]) -> int:
    """Carry out a command of typer's; a person's mistake, or the system's, is one line on stderr and exit code 2."""
    try:
        return command()
    except UserError as problem:
        typer.echo(f"hjbbench: {problem}", err=True)
    except OSError as problem:
        typer.echo(f"hjbbench: {problem.filename or 'the system'}: {problem.strerror or problem}", err=True)
    except TyperException as problem:
        typer.echo(f"hjbbench: {problem.format_message()}", err=True)
        return problem.exit_code
    except (Abort, KeyboardInterrupt):
        return 130
    return 2
