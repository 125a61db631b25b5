"""The errors a person can cause, told in one line."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterable
from pathlib import Path


class UserError(ValueError):
    """Bad input: its message is one line naming the field, the value and what is allowed. The CLI exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()).strip())  # a library's text within it may have line breaks


class Unwritable(UserError):
    """The disk is full or closed to us: nobody's result, and the end of the suite until that has changed."""


class Diverged(RuntimeError):
    """A run left the finite numbers; it stays in the statistics as a failed run."""


def told(problem: Exception) -> str:
    """What an exception says and where it was raised, in one line: "x is wrong (mine.py:12)"."""
    where = traceback.extract_tb(problem.__traceback__)[-1]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(problem))  # torch prints in bold
    return f"{' '.join(plain.splitlines())} ({Path(where.filename).name}:{where.lineno})"


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name nobody registered, with the closest known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names) or 'none'}"
    return UserError(f"unknown {kind} {name!r}; {hint}")
