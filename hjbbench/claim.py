"""What a claim says: the tables of claims.toml, read and checked."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hjbbench.errors import UserError, unknown

COSTS = ("n_steps", "t_env_s", "n_updates", "t_wall_s")
ROUGHNESS = ("action_tv_per_s", "action_rate_rms_per_s", "action_jerk_rms_per_s2", "action_mean_freq_hz")
AXES = {"faster": COSTS, "smoother": ROUGHNESS, "value": (), "robust": ()}

_COMMON: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "text": str,
    "kind": str,
    "agent": str,
    "tasks": list,
    "confidence": float,
}
_OF_KIND: dict[str, dict[str, type | tuple[type, ...]]] = {
    "faster": {"baseline": str, "axis": str, "target": (str, int), "ratio": float},
    "smoother": {"baseline": str, "axis": str, "ratio": float},
    "value": {"at_most": float},
    "robust": {"at_least": float},
}


@dataclass(frozen=True)
class Claim:
    """One claim of claims.toml.

    faster, smoother: the baseline's ``axis`` over the agent's is at least ``ratio``. value: the relative value error is
    ``at_most`` this. robust: ``at_least`` this share of the score is kept at every control interval swept.
    """

    name: str
    text: str
    kind: str
    agent: str
    tasks: tuple[str, ...]
    confidence: float = 0.95
    baseline: str | None = None
    axis: str | None = None
    target: int = -1
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def demand(self) -> float:
        """The number the estimate is held against."""
        return next(x for x in (self.ratio, self.at_most, self.at_least) if x is not None)


def load_claims(path: Path) -> list[Claim]:
    """The claims of a file; raises UserError naming the claim, the field, its value and what is allowed."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UserError(f"{path}: not readable as TOML ({problem})") from None
    entries = content.get("claim")
    if set(content) - {"claim"} or not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise UserError(f"{path}: must hold [[claim]] tables and nothing else")
    claims = [_parse(entry, f"{path}: claim {number}") for number, entry in enumerate(entries, start=1)]
    for claim in claims:
        if [other.name for other in claims].count(claim.name) > 1:
            raise UserError(f"{path}: name {claim.name!r} is used twice, must be unique")
    return claims


def _parse(entry: Mapping[str, Any], where: str) -> Claim:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in _OF_KIND:
        raise UserError(f"{where}: kind is {kind!r}, must be one of {', '.join(_OF_KIND)}")
    where = f"{where} ({entry.get('name')})"
    fields = {**_COMMON, **_OF_KIND[kind]}
    values = dict(entry)
    for key, value in entry.items():
        if key not in fields:
            raise UserError(f"{where}: {unknown(f'field of a {kind} claim', key, fields)}")
        kinds = fields[key]
        allowed = kinds if isinstance(kinds, tuple) else (kinds,)
        if isinstance(value, int) and not isinstance(value, bool) and float in allowed:
            values[key] = float(value)
        elif isinstance(value, bool) or not isinstance(value, allowed):
            raise UserError(f"{where}: {key} is {value!r}, must be of type {allowed[0].__name__}")
    optional = {"confidence", "axis", "target"}
    if lacking := [key for key in fields if key not in entry and key not in optional]:
        raise UserError(f"{where}: field {lacking[0]!r} is missing")
    values["tasks"] = tuple(map(str, values["tasks"]))
    if AXES[kind]:
        values.setdefault("axis", "n_steps" if kind == "faster" else "action_rate_rms_per_s")
        if values["axis"] not in AXES[kind]:
            raise UserError(f"{where}: axis is {values['axis']!r}, must be one of {', '.join(AXES[kind])}")
    target = values.pop("target", "hardest")
    if isinstance(target, str) and target != "hardest":
        raise UserError(f"{where}: target is {target!r}, must be hardest or an index into the task's targets")
    for key in ("ratio", "at_most", "at_least"):
        if key in values and not (math.isfinite(values[key]) and values[key] > 0):
            raise UserError(f"{where}: {key} is {values[key]}, must be a positive number")
    if not 0.5 < values.get("confidence", 0.95) < 1:
        raise UserError(f"{where}: confidence is {values['confidence']}, must be between 0.5 and 1")
    return Claim(target=-1 if target == "hardest" else target, **values)
