"""The source of an agent or a task: its module and the modules of the same package that it imports."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any


def digest(*factories: Any) -> str:
    """SHA-256 of the sources behind what builds an agent or a task: another one where a line of them was edited."""
    texts = (text for factory in factories for text in sources(module_of(factory)))
    return sha256("\0".join(texts).encode()).hexdigest()


def module_of(factory: Any) -> str:
    """Name of the module that defines a class or function, a partial one too."""
    while isinstance(factory, partial):
        factory = factory.func
    return factory.__module__


def sources(module: str, seen: set[str] | None = None) -> Iterator[str]:
    """The text of a module and of the modules of its package that it imports, however deep."""
    seen = set() if seen is None else seen
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # "a.b" of "from a import b" where b is no module
        return
    if module in seen or spec is None or not (spec.origin or "").endswith(".py"):
        return
    seen.add(module)
    source = Path(spec.origin or "").read_text(encoding="utf-8")
    yield source
    package = module.rpartition(".")[0] or module
    for name in imports(source):
        if name.startswith(f"{package}."):
            yield from sources(name, seen)


def imports(source: str) -> Iterator[str]:
    """Names of the modules that a source imports, also inside functions; of "from a import b" both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
