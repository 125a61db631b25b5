"""How fast the report and its statistics are, for ``make perf``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from hjbbench.stats.bootstrap import stratified_interval
from tests.synthetic import write_suite

N_TASKS, N_AGENTS, N_SEEDS = 20, 10, 5


def report_of_1000_runs() -> dict[str, float]:
    """Seconds that the report of 20 tasks x 10 agents x 5 seeds takes, imports included, and the page's size in MB."""
    tasks = [f"family/task-{i}" for i in range(N_TASKS)]
    agents = {f"agent-{i}": i / (N_AGENTS - 1) for i in range(N_AGENTS)}
    with tempfile.TemporaryDirectory() as folder:
        write_suite(Path(folder), tasks, agents, n_seeds=N_SEEDS)
        began = time.perf_counter()
        from hjbbench.report import write_report

        _, page = write_report(Path(folder))
        return {"seconds": time.perf_counter() - began, "page_mb": page.stat().st_size / 1e6}


def iqm_interval_seconds() -> float:
    """Seconds for the interval of the IQM of 10 runs x 8 tasks with 50,000 resamples, median of 5."""
    rng = np.random.default_rng(0)
    scores = {f"task-{i}": rng.normal(0.5, 0.2, 10) for i in range(8)}
    stratified_interval(scores, rng=rng, n_resamples=100)  # imports scipy
    times = []
    for _ in range(5):
        began = time.perf_counter()
        stratified_interval(scores, rng=rng, n_resamples=50_000)
        times.append(time.perf_counter() - began)
    return median(times)
