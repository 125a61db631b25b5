"""What one run is: everything that decides its outcome, and the hash that says whether two are the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from hjbbench.errors import UserError, unknown
from hjbbench.protocol import Task
from hjbbench.registry import AgentEntry, Resources, get_agent, get_task


@dataclass(frozen=True)
class RunSpec:
    """One cell of a suite: a task, an agent with its overrides, a seed, a budget and how it is evaluated."""

    suite: str
    task: str
    agent: str
    """Name in results; a variant of a registered agent has its own."""
    seed: int
    n_steps: int
    n_evals: int
    n_eval_episodes: int
    wall_limit_s: float
    variant_of: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    dt: float | None = None
    dt_factors: tuple[float, ...] = ()
    """Multiples of dt at which the trained policy is evaluated once more at the end."""
    keep_policy: bool = False
    memory_limit_mb: float | None = None
    """In units of 10^6 bytes; None: what the agent declares."""
    checkpoint_every_s: float = 180.0
    """Wall-clock seconds between two checkpoints; they are made between episodes."""

    @property
    def label(self) -> str:
        return f"{self.task} {self.agent} seed {self.seed}"

    def resolve(self) -> tuple[Task, AgentEntry, Any]:
        """The task at the run's dt, the agent and its configuration. Raises UserError for unknown names and values."""
        task = get_task(self.task)
        if self.dt is not None:
            task = dataclasses.replace(task, dt=self.dt)
        entry = get_agent(self.variant_of or self.agent)
        return task, entry, configure(entry, self.overrides)

    def resources(self) -> Resources:
        """What the run takes at most."""
        _, entry, config = self.resolve()
        declared = entry.resources(config)
        return dataclasses.replace(declared, memory_mb=self.memory_limit_mb or declared.memory_mb)

    def config_hash(self) -> str:
        """Hash of what decides the run's outcome: a finished run is not repeated while it stays the same."""
        task, _, config = self.resolve()
        deciding = {
            "config": dataclasses.asdict(config),
            "n_steps": self.n_steps,
            "n_evals": self.n_evals,
            "n_eval_episodes": self.n_eval_episodes,
            "dt": task.dt,
            "dt_factors": list(self.dt_factors),
        }
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def configure(entry: AgentEntry, overrides: dict[str, Any]) -> Any:
    """The agent's default configuration with some fields replaced; values must have the default's type."""
    fields = {item.name: getattr(entry.config, item.name) for item in dataclasses.fields(entry.config)}
    replaced = {}
    for name, value in overrides.items():
        if name not in fields:
            raise unknown(f"setting of {entry.name}", name, fields)
        replaced[name] = _like(fields[name], value, f"{entry.name}.{name}")
    return dataclasses.replace(entry.config, **replaced)


def _like(default: Any, value: Any, where: str) -> Any:
    """A value of the default's type; whole numbers pass for floats, lists for tuples."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if default is not None and type(value) is not type(default):
        raise UserError(f"{where} is {value!r}, must be of type {type(default).__name__} (default {default!r})")
    return value
