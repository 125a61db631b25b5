"""Bad settings are refused in one line before anything runs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hjbbench.errors import UserError


def check(config: Any, zero: tuple[str, ...] = (), negative: tuple[str, ...] = ()) -> None:
    """Raise UserError for a field of the dataclass that is not a finite number above 0, or a tuple of such.

    Fields in ``zero`` may be 0, those in ``negative`` any finite number, and those whose default is None also None.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None and field.default is None:
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, (int, float)) or isinstance(number, bool) or not math.isfinite(number):
                raise UserError(f"{field.name} is {value!r}, must be a finite number")
            if number < 0 and field.name not in negative:
                raise UserError(f"{field.name} is {value!r}, must be at least 0")
            if number == 0 and field.name not in (*zero, *negative):
                raise UserError(f"{field.name} is {value!r}, must be above 0")
