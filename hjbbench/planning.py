"""Suite files -> the list of runs to do."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from hjbbench.errors import UserError, unknown
from hjbbench.registry import all_agents, all_tasks, check_name, get_agent, get_task
from hjbbench.spec import RunSpec, configure

T = TypeVar("T")
SEED_DIGITS = 4
"""A longer seed is a slip of the finger, and a range up to it fills the memory."""
SHIPPED = Path(__file__).parent / "suites"


@dataclass(frozen=True)
class Suite:
    """A suite file's content. Fields are the keys of the file."""

    name: str
    description: str
    tasks: list[str]
    """Names or globs."""
    agents: list[str]
    """Names of registered agents or of this file's variants, or globs."""
    n_steps: dict[str, int]
    """Decisions per run by task name or glob; the first that matches counts."""
    seeds: str = "0-2"
    agent_seeds: dict[str, str] = field(default_factory=dict)
    """Seeds of agents that get others than ``seeds``."""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name -> {agent = registered name, setting = value, ...}."""
    n_evals: int = 25
    n_eval_episodes: int = 10
    wall_limit_s: float = 7200.0
    optional_tasks: list[str] = field(default_factory=list)
    """Names or globs of tasks that are next in line: planned where ``--tasks`` names them."""
    dt_factor: dict[str, float] = field(default_factory=dict)
    """Multiple of the task's own dt at which agents learn and are evaluated, by task name or glob, 1 where none."""
    dt_factors: dict[str, list[float]] = field(default_factory=dict)
    """Multiples of that dt at which trained policies are evaluated once more, by task name or glob; the first that
    matches counts."""
    memory_limit_mb: float | None = RunSpec.memory_limit_mb
    checkpoint_every_s: float = RunSpec.checkpoint_every_s


_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str, "description": str, "tasks": list, "agents": list, "n_steps": dict, "seeds": str, "agent_seeds": dict,
    "variants": dict, "n_evals": int, "n_eval_episodes": int, "wall_limit_s": (int, float),
    "optional_tasks": list, "dt_factor": dict, "dt_factors": dict,
    "memory_limit_mb": (int, float), "checkpoint_every_s": (int, float),
}  # fmt: skip
_REQUIRED = ("description", "tasks", "agents", "n_steps")


def suite_names() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_suite(name: str) -> Suite:
    """A shipped suite by name, or a file of one's own by its path; raises UserError naming the key that is wrong."""
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.is_file():
        raise (
            UserError(f"{path}: no such suite file")
            if name.endswith(".toml")
            else unknown("suite", name, suite_names())
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UserError(f"{path}: not readable as TOML ({problem})") from None
    for key, value in content.items():
        if key not in _TYPES:
            raise UserError(f"{path}: {unknown('key', key, _TYPES)}")
        if isinstance(value, bool) or not isinstance(value, _TYPES[key]):
            raise UserError(f"{path}: {key} is {value!r}, must be of type {_type_name(key)}")
    for key in _REQUIRED:
        if key not in content:
            raise UserError(f"{path}: key {key!r} is missing")
    suite = Suite(**({"name": path.stem} | content))
    _check_values(suite, path)
    return suite


def _type_name(key: str) -> str:
    kind = _TYPES[key]
    return {"str": "text", "list": "list", "dict": "table", "int": "whole number"}.get(
        getattr(kind, "__name__", ""), "number"
    )


def _check_values(suite: Suite, path: Path) -> None:
    for key in ("tasks", "optional_tasks", "agents"):
        wrong = [name for name in getattr(suite, key) if not isinstance(name, str)]
        if wrong:
            raise UserError(f"{path}: {key} holds {wrong[0]!r}, must hold names")
    real = ("wall_limit_s", "checkpoint_every_s", "memory_limit_mb")
    numbers = {key: getattr(suite, key) for key in ("n_evals", "n_eval_episodes", *real)}
    if suite.memory_limit_mb is None:
        del numbers["memory_limit_mb"]
    numbers |= {f"dt_factor.{name}": value for name, value in suite.dt_factor.items()}
    for name, factors in suite.dt_factors.items():
        if not isinstance(factors, list):
            raise UserError(f"{path}: dt_factors.{name} is {factors!r}, must be a list of numbers")
        numbers |= {f"dt_factors.{name}[{k}]": value for k, value in enumerate(factors)}
    numbers |= {f"n_steps.{name}": value for name, value in suite.n_steps.items()}
    for key, value in numbers.items():
        whole = key not in real and not key.startswith("dt_factor")
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < math.inf:
            raise UserError(f"{path}: {key} is {value!r}, must be a positive {'whole ' if whole else ''}number")
    for text in (suite.seeds, *suite.agent_seeds.values()):
        parse_seeds(text)
    agents = {**all_agents(), **suite.variants}
    for name in suite.agent_seeds:
        if name not in agents:
            raise UserError(f"{path}: agent_seeds: {unknown('agent', name, agents)}")
    for key in ("n_steps", "dt_factor", "dt_factors"):
        for glob in getattr(suite, key):
            if not any(fnmatch(task, glob) for task in all_tasks()):
                raise UserError(f"{path}: {key}: {unknown('task', glob, all_tasks())}")
    for name, variant in suite.variants.items():
        if not isinstance(variant, dict) or not isinstance(variant.get("agent"), str):
            raise UserError(f"{path}: variants.{name} must be a table with an agent and its settings")
        if name in all_agents():
            raise UserError(f"{path}: variants.{name} has the name of a registered agent, must have one of its own")
        check_name("variant", name)
        configure(get_agent(variant["agent"]), _settings(variant))


def parse_seeds(text: str) -> list[int]:
    """Seeds as "0-9", "3" or "0,2,5-7"."""
    seeds: list[int] = []
    for part in str(text).split(","):
        low, dash, high = part.strip().partition("-")
        numbers = (low, high) if dash else (low,)
        if not all(each.isascii() and each.isdigit() and len(each) <= SEED_DIGITS for each in numbers):
            raise UserError(f"seeds: {text!r} is not understood; write 0-9, 3 or 0,2,5-7")
        if dash and int(high) < int(low):
            raise UserError(f"seeds: {part.strip()!r} runs backwards; write {high}-{low}")
        seeds += range(int(low), int(high or low) + 1)
    return list(dict.fromkeys(seeds))


def plan(
    suite: Suite,
    tasks: str | None = None,
    agents: str | None = None,
    seeds: str | None = None,
    n_steps: int | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    keep_policy: bool = False,
) -> tuple[list[RunSpec], list[str]]:
    """The runs of a suite, seed by seed across all cells so that a partial result is balanced, and what is left out.

    ``overrides`` maps an agent's name to settings. Raises UserError for names that match nothing.
    """
    known_agents = {**dict.fromkeys(all_agents()), **suite.variants}
    offered = suite.tasks if tasks is None else [*suite.tasks, *suite.optional_tasks]
    chosen_tasks = _narrow("task", _expand("task", offered, list(all_tasks())), tasks)
    chosen_agents = _narrow("agent", _expand("agent", suite.agents, list(known_agents)), agents)
    for name in overrides or {}:
        if name not in chosen_agents:
            raise unknown("agent in --set", name, chosen_agents)
    left_out, runs = [], []
    for task_name in chosen_tasks:
        dt_factor = _first_match(suite.dt_factor, task_name) or 1.0
        task = get_task(task_name)
        dt = task.dt * dt_factor
        dt_factors = _first_match(suite.dt_factors, task_name) or []
        for interval in (dt, *(dt * factor for factor in dt_factors)):
            if interval != task.dt:  # refused now, not at the end of a long run
                task.make(dt=interval).close()
        steps = n_steps or _first_match(suite.n_steps, task_name)
        if steps is None:
            raise UserError(f"suite {suite.name}: n_steps names no budget for {task_name}")
        for agent_name in chosen_agents:
            variant = suite.variants.get(agent_name)
            base = variant["agent"] if variant else agent_name
            if reason := get_agent(base).refuses(task):
                left_out.append(f"{agent_name} on {task_name}: {reason}")
                continue
            settings = {**(_settings(variant) if variant else {}), **(overrides or {}).get(agent_name, {})}
            config = configure(get_agent(base), settings)
            if hasattr(config, "check"):
                config.check(task)
            for seed in parse_seeds(seeds or suite.agent_seeds.get(agent_name, suite.seeds)):
                runs.append(
                    RunSpec(
                        suite=suite.name,
                        task=task_name,
                        agent=agent_name,
                        seed=seed,
                        n_steps=steps,
                        n_evals=min(suite.n_evals, steps),
                        n_eval_episodes=suite.n_eval_episodes,
                        wall_limit_s=float(suite.wall_limit_s),
                        variant_of=base if variant else None,
                        overrides=settings,
                        dt=None if dt_factor == 1.0 else dt,
                        dt_factors=tuple(map(float, dt_factors)),
                        keep_policy=keep_policy,
                        memory_limit_mb=suite.memory_limit_mb,
                        checkpoint_every_s=float(suite.checkpoint_every_s),
                    )
                )
    return sorted(runs, key=lambda run: run.seed), left_out


def _first_match(by_glob: Mapping[str, T], task_name: str) -> T | None:
    """The value of the first glob that matches a task, or None."""
    return next((value for glob, value in by_glob.items() if fnmatch(task_name, glob)), None)


def _settings(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in variant.items() if key != "agent"}


def _expand(kind: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names and globs of a suite file -> names, each once, in the file's order."""
    found: dict[str, None] = {}
    for pattern in wanted:
        matches = [name for name in known if fnmatch(name, pattern)]
        if not matches:
            raise unknown(kind, pattern, known)
        found.update(dict.fromkeys(matches))
    return list(found)


def _narrow(kind: str, names: list[str], patterns: str | None) -> list[str]:
    """The names that match a comma-separated list of globs from the command line."""
    if patterns is None:
        return names
    return _expand(kind, [part.strip() for part in patterns.split(",")], names)
