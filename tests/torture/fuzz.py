"""Nonsense in every file a person writes or copies and on the command line: one line of error, nothing overwritten."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hjbbench import cli
from hjbbench.planning import Suite
from hjbbench.store import EVAL_COLUMNS, read_record, write_record
from tests.synthetic import write_suite

TASK, AGENTS = "oracle/oscillator", {"sac": 0.8, "random": 0.1}
CLAIM = """
[[claim]]
name = "a"
text = "b"
kind = "faster"
agent = "sac"
baseline = "random"
tasks = ["*"]
ratio = 2.0
"""
CODES = {0, 1, 2, 3}
"""Exit codes that mean something; a traceback has none of its own."""

words = st.sampled_from(
    [
        *AGENTS,
        TASK,
        "oracle/*",
        "*",
        "quick",
        "out",
        "0-2",
        "sac.batch_size=8",
        "sac.x=1",
        "done",
        "-1",
        "",
        "../..",
        "0",
    ]
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), words)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps("" if value is None else value)


def call(*arguments: str) -> int:
    """The command line in this process, its runs left out; returns its exit code, raises what would be a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["hjbbench", *arguments]),
        mock.patch("hjbbench.executors.run_local", return_value={}),
        mock.patch("hjbbench.ray_executor.run_ray", return_value={}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    assert code in CODES, (code, err.getvalue())
    assert len(err.getvalue().strip().splitlines()) <= 1, err.getvalue()
    return code


class Fuzz:
    """Results to be left alone, and the attacks on them; each returns the number of cases it has tried."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        write_suite(self.out, [TASK], AGENTS, n_seeds=2, n_evals=5)
        self.run = self.out / TASK / "sac/seed-00"
        self.suite, self.claims = folder / "fuzzed.toml", folder / "claims.toml"
        self.cases = 0

    def _files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.out.rglob("*") if path.is_file() and path.parent != self.out}

    def _try(self, n: int, strategy: st.SearchStrategy[Any], attack: Callable[[Any], None]) -> None:
        """Attack with n examples; what was stored, but for reports, is as it was after each."""

        @settings(
            max_examples=n, deadline=None, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(strategy)
        def every(example: Any) -> None:
            self.cases += 1
            attack(example)

        every()

    def _leaves_alone(self, *arguments: str) -> None:
        before = self._files()
        call(*arguments)
        after = {path: content for path, content in self._files().items() if "report" not in path.parts}
        assert after == {path: content for path, content in before.items() if "report" not in path.parts}

    def suites(self, n: int) -> None:
        """A suite file with values nobody meant, or bytes that are no suite at all."""
        sound = {"description": "x", "tasks": [TASK], "agents": ["sac"], "n_steps": {"*": 100}, "seeds": "0-1"}
        keys = st.sampled_from([*Suite.__dataclass_fields__, "sedes"])
        changes = st.dictionaries(keys, values, min_size=1, max_size=3)

        def attack(example: dict[str, Any] | bytes) -> None:
            if isinstance(example, bytes):
                self.suite.write_bytes(example)
            else:
                lines = [f"{key} = {toml(value)}" for key, value in {**sound, **example}.items()]
                self.suite.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
            self._leaves_alone("run", str(self.suite), "--out", str(self.out))

        self._try(n, changes | st.binary(max_size=40), attack)

    def claim_files(self, n: int) -> None:
        """The same for claims."""
        sound = tomllib.loads(CLAIM)["claim"][0]
        fields = st.sampled_from([*sound, "target", "axis", "confidence", "at_most", "at_least", "x"])
        kinds = st.sampled_from(["faster", "smoother", "value", "robust"])
        changes = st.dictionaries(fields, kinds | values, min_size=1, max_size=3)

        def attack(example: dict[str, Any] | bytes) -> None:
            if isinstance(example, bytes):
                self.claims.write_bytes(example)
            else:
                lines = [f"{key} = {toml(value)}" for key, value in {**sound, **example}.items()]
                self.claims.write_bytes("\n".join(["[[claim]]", *lines]).encode("utf-8", "surrogatepass"))
            self._leaves_alone("check", str(self.out), "--claims", str(self.claims))

        with mock.patch("hjbbench.claims.N_RESAMPLES", 50):
            self._try(n, changes | st.binary(max_size=40), attack)

    def records(self, n: int) -> None:
        """A run.json with one field changed, at any depth, with a fitting checksum or without one, or cut off."""
        path = self.run / "run.json"
        whole = path.read_bytes()
        record = read_record(path)
        places = [(key,) for key in record] + [
            (key, inner) for key, value in record.items() if isinstance(value, dict) for inner in value
        ]
        changes = st.tuples(st.sampled_from(places), values, st.booleans(), st.booleans())

        def attack(example: tuple[tuple[str, ...], Any, bool, bool] | int) -> None:
            if isinstance(example, int):
                path.write_bytes(whole[: example % len(whole)])
            else:
                place, value, drop, sign = example
                changed = json.loads(whole)
                inside = changed
                for key in place[:-1]:
                    inside = inside[key]
                inside[place[-1]] = value
                if drop:
                    del inside[place[-1]]
                path.write_text(json.dumps(changed), encoding="utf-8", errors="surrogatepass")
                if sign:
                    write_record(self.run, changed)
            self._look(self.cases)

        self._try(n, changes | st.integers(0, 5000), attack)
        path.write_bytes(whole)

    def tables(self, n: int) -> None:
        """An evals.csv with a cell changed, lines missing, or bytes that are no table."""
        path = self.run / "evals.csv"
        whole = path.read_text()
        rows = [line.split(",") for line in whole.splitlines()]
        cells = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, len(EVAL_COLUMNS) - 1))
        changes = st.tuples(cells, st.text(max_size=6) | words | st.floats().map(str), st.integers(0, 3))

        def attack(example: tuple[tuple[int, int], str, int] | bytes) -> None:
            if isinstance(example, bytes):
                path.write_bytes(example)
            else:
                (row, column), text, missing = example
                changed = [list(cells) for cells in rows]
                changed[row][column] = text
                lines = [",".join(cells) for cells in changed[: len(changed) - missing]]
                path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
            self._look(self.cases)

        self._try(n, changes | st.binary(max_size=60), attack)
        path.write_text(whole)

    def _look(self, which: int) -> None:
        """One of the commands that read results; the report reads them in the same way and is slow."""
        self.claims.write_text(CLAIM)
        out, run = str(self.out), str(self.run)
        commands = (
            ("check", out, "--claims", str(self.claims)),
            ("compare", out, out),
            ("status", out),
            ("run", "quick", "--tasks", TASK, "--agents", "sac", "--seeds", "0", "--out", out),
            ("cite", run),
            ("evaluate", run),
        )
        with mock.patch("hjbbench.claims.N_RESAMPLES", 50):
            self._leaves_alone(*commands[which % len(commands)])

    def command_lines(self, n: int) -> None:
        """Verbs, options and values in any order."""
        verbs = st.sampled_from(["list", "run", "status", "check", "compare", "evaluate", "render", "cite", "x", ""])
        options = st.sampled_from(
            [
                "--tasks",
                "--agents",
                "--seeds",
                "--steps",
                "--workers",
                "--executor",
                "--address",
                "--out",
                "--set",
                "--keep-policy",
                "--retry-failed",
                "--replace",
                "--json",
                "--claims",
                "--dt",
                "--episodes",
                "--seed",
                "--x",
            ]
        )
        paths = st.sampled_from([str(self.out), str(self.run), str(self.suite), str(self.folder / "none"), "/dev/null"])
        parts = st.lists(options | words | paths | st.text(max_size=5), max_size=6)

        def attack(example: tuple[str, list[str]]) -> None:
            verb, arguments = example
            printable = [part for part in arguments if part.isprintable()]
            with contextlib.chdir(self.folder):
                self._leaves_alone(verb, *printable)

        self._try(n, st.tuples(verbs, parts), attack)


ATTACKS = ("suites", "claim_files", "records", "tables", "command_lines")


def fuzz(folder: Path, n_each: int) -> int:
    """All attacks with so many cases each; returns how many were tried. A traceback or a changed file is raised."""
    fuzz = Fuzz(folder)
    for name in ATTACKS:
        getattr(fuzz, name)(n_each)
    return fuzz.cases
