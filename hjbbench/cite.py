"""BibTeX for what a run used: the papers its agent and task name in their source, and the libraries they import.

Nobody keeps a list of agents here. A module that states "arXiv:1812.05905" or "doi:10.1109/..." anywhere in its text is
cited by it, and so is every module of the same package that it imports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hjbbench import __version__
from hjbbench.registry import all_agents, all_tasks
from hjbbench.sources import imports, module_of, sources

REFERENCES = Path(__file__).with_name("references.bib")
MENTION = re.compile(
    r"\b(?:arXiv[:\s]\s*(\d{4}\.\d{4,5})|doi[:\s]\s*(10\.\d{4,9}/[^\s,;)\"'}]*[^\s,;)\"'}.]))", re.IGNORECASE
)
ALWAYS = ("gymnasium",)
"""Every task is a Gymnasium environment."""
PART_OF = {"sb3_contrib": "stable_baselines3"}
"""Packages that have no paper of their own, and the one to cite."""


def bibtex(agent: str | None, task: str | None) -> str:
    """BibTeX entries, hjbbench's own first, each once.

    Args:
        agent, task: registered names, or None. A name that is not registered here, as that of a third party whose
            package is not installed, is said in a comment: its papers are not known.
    """
    comments, modules = [], []
    for kind, name, place in (
        ("agent", agent, all_agents()[agent].factory if agent in all_agents() else None),
        ("task", task, all_tasks()[task].make if task in all_tasks() else None),
    ):
        if place is not None:
            modules.append(module_of(place))
        elif name is not None:
            comments.append(f"% The {kind} {_one_line(name)} is not installed here, so its papers are not listed.")
    found = dict.fromkeys(ALWAYS)
    for module in modules:
        for source in sources(module):
            found |= dict.fromkeys(_cited(source))
    own = (
        "@software{hjbbench,\n  author = {{The hjbbench authors}},\n  title = {{hjbbench}: a benchmark of convergence "
        f"speed and policy smoothness for continuous-time reinforcement learning}},\n  version = {{{__version__}}}\n}}"
    )
    entries = dict.fromkeys(entry for name in found if (entry := _entry(name)))
    return "\n\n".join([*comments, own, *entries]) + "\n"


def _cited(source: str) -> Iterator[str]:
    """Import names of libraries and identifiers of papers."""
    for name in imports(source):
        library = name.partition(".")[0]
        if PART_OF.get(library, library) in _references():
            yield PART_OF.get(library, library)
    for arxiv, doi in MENTION.findall(source):
        yield arxiv or doi


def _entry(name: str) -> str:
    """The entry of a library or paper; for a paper nobody has written up, what its identifier says."""
    if name in _references():
        return _references()[name]
    kind, place = ("doi", "https://doi.org/") if name.startswith("10.") else ("eprint", "https://arxiv.org/abs/")
    archive = "" if kind == "doi" else ",\n  archivePrefix = {arXiv}"
    key = re.sub(r"[^0-9A-Za-z]+", "-", name)
    return f"@misc{{{key},\n  {kind} = {{{name}}}{archive},\n  url = {{{place}{name}}}\n}}"


@cache
def _references() -> dict[str, str]:
    """Entries of references.bib by key and by eprint or doi."""
    found = {}
    for entry in re.findall(r"^@.*?^\}", REFERENCES.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for name in re.findall(r"^@\w+\{(.+),$|^  (?:eprint|doi) = \{(.+)\}", entry, re.MULTILINE):
            found[name[0] or name[1]] = entry
    return found


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
