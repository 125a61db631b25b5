"""Tasks and agents by name: two plain dicts, filled by import."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import gymnasium

from hjbbench.errors import UserError, told, unknown
from hjbbench.protocol import Agent, Task


@dataclass(frozen=True)
class Resources:
    """What one run takes at most. Runs are packed by it on a cluster, and one that takes more memory is stopped."""

    cores: int = 1
    memory_mb: float = 4000.0
    """In units of 10^6 bytes."""
    gpus: float = 0.0
    """A fraction: that share of one."""


@dataclass(frozen=True)
class AgentEntry:
    """A registered agent: how to build it, its default configuration, and what it cannot do."""

    name: str
    factory: Callable[..., Agent]
    config: Any
    """The frozen dataclass of the agent's settings; its defaults serve every task. It may have ``check(task)``, which
    raises UserError for a task these settings cannot be used on."""
    summary: str
    refuses: Callable[[Task], str | None]
    """The reason this agent cannot run on a task, or None."""
    resources: Callable[[Any], Resources] = lambda config: Resources()
    """What a run with a configuration takes."""


TASKS: dict[str, Task] = {}
AGENTS: dict[str, AgentEntry] = {}


def check_name(kind: str, name: str, parts: int = 1) -> None:
    """Refuse a name that is no folder's: results lie in the folders task/agent, a task's name being family/name."""
    if not re.fullmatch("/".join([r"[A-Za-z0-9][A-Za-z0-9._-]*"] * parts), name):
        shape = "/".join(["family", "name"][-parts:])
        raise UserError(f"{kind} {name!r}: must be a {shape} of letters, digits, '.', '_' and '-'")


def add_task(task: Task) -> Task:
    """Register a task under its own name, which is taken once, and with Gymnasium as "hjbbench/<family>-<name>"."""
    check_name("task", task.name, parts=2)
    if task.name in TASKS:
        raise UserError(f"task {task.name!r} is registered twice")
    TASKS[task.name] = task
    gymnasium.register(
        id=f"hjbbench/{task.name.replace('/', '-')}-v{task.version}",
        entry_point=task.make,  # has its own time limit
        order_enforce=False,
        disable_env_checker=True,
    )
    return task


def agent(
    name: str,
    config: Any,
    refuses: Callable[[Task], str | None] = lambda task: None,
    resources: Callable[[Any], Resources] = AgentEntry.resources,
    summary: str | None = None,
) -> Callable:
    """Register the decorated class (or function) as the agent ``name``, configured by the dataclass ``config``.

    ``refuses(task)`` is the reason it cannot run on a task, or None; ``resources(config)`` is what a run takes.
    ``summary`` is its line in ``hjbbench list``, the first one of its docstring unless given.
    """

    def register(factory: Callable[..., Agent]) -> Callable[..., Agent]:
        check_name("agent", name)
        if name in AGENTS:
            raise UserError(f"agent {name!r} is registered twice")
        if not dataclasses.is_dataclass(config) or isinstance(config, type):
            raise UserError(f"agent {name!r}: config is {config!r}, must be an instance of a dataclass")
        line = summary or (factory.__doc__ or "").strip().split("\n")[0]
        AGENTS[name] = AgentEntry(name, factory, config, line, refuses, resources)
        return factory

    return register


def import_modules(package: str) -> None:
    """Import every module of a package, so that a new file registers itself."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


@cache
def load(group: str) -> None:
    """Import the entry points of "hjbbench.tasks" or "hjbbench.agents": the shipped ones and every third party's."""
    for entry in entry_points(group=group):
        try:
            entry.load()
        except Exception as problem:
            raise UserError(
                f"entry point {entry.name} = {entry.value} ({group}) cannot be imported: {told(problem)}"
            ) from None


def all_tasks() -> dict[str, Task]:
    """Every registered task by name."""
    load("hjbbench.tasks")
    return TASKS


def all_agents() -> dict[str, AgentEntry]:
    """Every registered agent by name."""
    load("hjbbench.agents")
    return AGENTS


def get_task(name: str) -> Task:
    """The task of this name; raises UserError with the closest names."""
    if name not in all_tasks():
        raise unknown("task", name, TASKS)
    return TASKS[name]


def get_agent(name: str) -> AgentEntry:
    """The agent of this name; raises UserError with the closest names."""
    if name not in all_agents():
        raise unknown("agent", name, AGENTS)
    return AGENTS[name]
