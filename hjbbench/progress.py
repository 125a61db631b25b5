"""What a person sees while runs go on: one live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hjbbench.spec import RunSpec


class Progress:
    """Listens to an executor's events; use as a context manager around it."""

    def __init__(self, specs: Sequence[RunSpec], console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._total_steps = sum(spec.n_steps for spec in specs)
        self._n_runs = len(specs)
        self._ended: dict[str, int] = {}
        self._steps: dict[str, int] = {}
        self._current: dict[str, dict[str, Any]] = {}
        self._live = (
            Live(console=console, get_renderable=self._table, refresh_per_second=2) if console.is_terminal else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._live:
            self._live.stop()

    def listen(self, spec: RunSpec, event: dict[str, Any]) -> None:
        """Take one event of a run: started, an evaluation, or its final status."""
        if "started" in event:
            self._current[spec.label] = {"began": time.monotonic()}
        elif "status" in event:
            last = self._current.pop(spec.label, {"began": time.monotonic()})
            self._ended[event["status"]] = self._ended.get(event["status"], 0) + 1
            self._steps[spec.label] = spec.n_steps  # nothing of this run is left to do
            took = time.monotonic() - last["began"]
            shown = f", return {last['return_mean']:.5g}" if "return_mean" in last else ""
            error = f": {event['error']}" if event.get("error") else ""
            done = f"[{sum(self._ended.values())}/{self._n_runs}]"
            left = f", {_duration(self._left_s())} left" if self._n_runs > sum(self._ended.values()) else ""
            line = f"{done} {spec.label} {event['status']}{error} in {_duration(took)}{shown}{left}"
            self._console.print(Text(line), soft_wrap=True)
        else:
            self._current[spec.label].update(event)
            self._steps[spec.label] = event["n_steps"]

    def _left_s(self) -> float:
        """Remaining wall time at the pace so far, which already counts how many run side by side."""
        done = sum(self._steps.values())
        return (self._total_steps - done) * (time.monotonic() - self._began) / done if done else float("nan")

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for heading in ("run", "steps", "steps/s", "last return"):
            table.add_column(heading, justify="left" if heading == "run" else "right")
        for label, last in self._current.items():
            rate = last["n_steps"] / last["t_wall_s"] if last.get("t_wall_s") else None
            table.add_row(
                label,
                str(last.get("n_steps", "starting")),
                f"{rate:.0f}" if rate else "",
                f"{last['return_mean']:.5g}" if "return_mean" in last else "",
            )
        ended = ", ".join(f"{count} {status}" for status, count in self._ended.items()) or "none ended"
        return Group(table, Text(f"{ended} of {self._n_runs} runs; about {_duration(self._left_s())} left"))


def _duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 20 s, 2 h 05 min."""
    if seconds != seconds:
        return "unknown time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
