"""BibTeX of what a run used."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hjbbench.cite import REFERENCES, bibtex
from hjbbench.registry import AGENTS, AgentEntry


def keys(text: str) -> list[str]:
    return re.findall(r"^@\w+\{(.+),$", text, re.MULTILINE)


def test_a_task_cites_what_its_modules_import_however_deep() -> None:
    assert keys(bibtex(None, "highway/lane-change")) == ["hjbbench", "gymnasium", "highway_env"]
    assert "mujoco" in keys(bibtex(None, "locomotion/hopper"))


def test_an_agent_cites_the_papers_its_modules_name() -> None:
    found = keys(bibtex("mbpo", None))
    assert {"janner2019when", "chua2018deep", "haarnoja2018soft"} <= set(found)
    assert len(set(found)) == len(found)
    assert "stable_baselines3" in keys(bibtex("sac", None))
    assert keys(bibtex("random", None)) == ["hjbbench", "gymnasium"]


def test_what_is_not_installed_is_said_in_a_comment_of_one_line() -> None:
    text = bibtex("their\nagent", "their/task")
    assert [line for line in text.splitlines() if line.startswith("%")] == [
        "% The agent their?agent is not installed here, so its papers are not listed.",
        "% The task their/task is not installed here, so its papers are not listed.",
    ]
    assert keys(text) == ["hjbbench", "gymnasium"]


def test_a_third_party_s_identifiers_are_entries_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "cited_elsewhere"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "agent.py").write_text(
        '"""An agent (arXiv:9901.00001)."""\nfrom cited_elsewhere.parts import part\ndef make(): ...\n'
    )
    (package / "parts.py").write_text("part = 1  # after doi:10.1000/182.b; and arXiv 1906.08253\n")
    monkeypatch.syspath_prepend(tmp_path)
    from cited_elsewhere import agent  # type: ignore[import-not-found]

    @dataclass(frozen=True)
    class Nothing:
        """No settings."""

    entry = AgentEntry("elsewhere", agent.make, Nothing(), "", lambda task: None)
    monkeypatch.setitem(AGENTS, "elsewhere", entry)
    text = bibtex("elsewhere", None)
    assert keys(text) == ["hjbbench", "gymnasium", "9901-00001", "10-1000-182-b", "janner2019when"]
    assert "url = {https://arxiv.org/abs/9901.00001}" in text
    assert "url = {https://doi.org/10.1000/182.b}" in text
    for name in ("cited_elsewhere", "cited_elsewhere.agent"):
        monkeypatch.delitem(sys.modules, name)


def test_references_are_well_formed_and_unique() -> None:
    text = REFERENCES.read_text(encoding="utf-8")
    entries = re.findall(r"^@.*?^\}", text, re.DOTALL | re.MULTILINE)
    assert len(entries) == text.count("\n@") == len(set(keys(text)))
    for entry in entries:
        assert entry.count("{") == entry.count("}")
        assert {"author", "title", "year"} <= set(re.findall(r"^  (\w+) = ", entry, re.MULTILINE))
    papers = re.findall(r"^  (?:eprint|doi) = \{(.+)\}", text, re.MULTILINE)
    assert len(set(papers)) == len(papers)
