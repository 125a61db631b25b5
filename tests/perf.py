"""Speed figures against their limits: ``make perf``. One line each; exit code 1 when one is missed."""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A measured value and the side of its limit it has to be on."""

    name: str
    value: float
    limit: float
    unit: str
    at_most: bool = True

    @property
    def met(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        ratio = f"x{self.value / self.limit:<6.2f}" if self.limit else " " * 7
        verdict = "ok" if self.met else "MISSED"
        return f"{self.name:58s} {self.value:10.4g} {sign} {self.limit:<8.4g} {self.unit:10s} {ratio} {verdict}"


def help_time() -> Iterator[Figure]:
    """The command line answers at once."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "hjbbench.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    yield Figure("hjbbench --help, median of 7", median(times), 0.5, "s")


def harness_overhead(n_steps: int = 3000) -> Iterator[Figure]:
    """What the harness adds to a decision, plus its files, as a share of a SAC run.

    The difference of two training runs drowns in their noise, so the cost per decision is taken from a loop that does
    nothing else, with and without the harness's environment and clock.
    """
    from hjbbench.clock import RunClock
    from hjbbench.environment import TrainingEnv
    from hjbbench.registry import get_task
    from hjbbench.runner import execute
    from hjbbench.spec import RunSpec
    from hjbbench.store import read_record

    task = get_task("locomotion/inverted-pendulum")
    action = np.zeros(1, np.float32)

    def loop(env, tick: Callable[[], object]) -> float:
        env.reset(seed=0)
        began = time.perf_counter()
        for _ in range(n_steps):
            _, _, terminated, truncated, _ = env.step(action)
            tick()
            if terminated or truncated:
                env.reset()
        return time.perf_counter() - began

    def with_harness() -> float:
        clock = RunClock(n_steps, (), lambda c: None, lambda row: None, task.dt)
        return loop(TrainingEnv(task.make(), task.dt, 0, n_steps), lambda: clock.tick(steps=1))

    per_run_s = median(with_harness() for _ in range(7)) - median(loop(task.make(), lambda: None) for _ in range(7))
    with tempfile.TemporaryDirectory() as folder:
        spec = RunSpec("perf", task.name, "sac", 0, n_steps, n_evals=25, n_eval_episodes=2, wall_limit_s=600)
        spec.resolve()  # imports the agent's libraries, which it would need without a harness too
        began = time.perf_counter()
        execute(spec, Path(folder))
        whole_s = time.perf_counter() - began
        totals = read_record(Path(folder) / "run.json")["totals"]
    files_s = max(0.0, whole_s - totals["t_wall_s"] - totals["t_eval_s"])
    share = 100 * (max(0.0, per_run_s) + files_s) / whole_s
    yield Figure(f"harness overhead of a SAC run of {n_steps} decisions", share, 3.0, "%")


def lane_change() -> Iterator[Figure]:
    """The lane-change task against highway-env's own fast environment in the same run."""
    from tests.perf_lane_change import lane_change_rates

    rates = lane_change_rates(seconds=8.0)
    yield Figure("highway/lane-change, random actions", rates["ours"], 300, "steps/s", at_most=False)
    yield Figure("the same over stock highway-fast-v0", rates["ours"] / rates["stock"], 3, "times", at_most=False)


def report_and_statistics() -> Iterator[Figure]:
    """The report of a thousand made-up runs, and the slowest interval in it."""
    from tests.perf_report import iqm_interval_seconds, report_of_1000_runs

    report = report_of_1000_runs()
    yield Figure("report of 1,000 runs", report["seconds"], 60, "s")
    yield Figure("its page", report["page_mb"], 10, "MB")
    yield Figure("IQM interval, 10 runs x 8 tasks, 50,000 resamples", iqm_interval_seconds(), 0.3, "s")


def baselines() -> Iterator[Figure]:
    """The baselines' updates against Stable-Baselines3's in the same run, and the cost of the model-based ones."""
    from tests.perf_baselines import dhmbpo_step_ms, mbpo_model_share, sac_update_rates

    for width, limit in ((256, 1.8), (128, 3.0)):
        rates = sac_update_rates(width)
        ratio = rates["ours"] / rates["sb3"]
        yield Figure(f"mbpo's SAC updates over SB3's, 2 x {width}, batch 256", ratio, limit, "times", at_most=False)
    yield Figure("dhmbpo per decision", dhmbpo_step_ms()["step"], 60, "ms")
    yield Figure("mbpo's model part at UTD 20", 100 * mbpo_model_share()["share"], 20, "%")


def diffusion_hjb() -> Iterator[Figure]:
    """A decision of the diffusion-HJB agent against Stable-Baselines3's SAC in the same run."""
    from tests.perf_hjb import step_ms

    took = step_ms()
    yield Figure("diffusion-hjb per decision, hopper", took["diffusion-hjb"], 16, "ms")
    yield Figure("the same over SB3's SAC", took["diffusion-hjb"] / took["sac"], 1, "times")


def main() -> None:
    import torch

    torch.set_num_threads(1)
    missed = 0
    for measure in (help_time, harness_overhead, lane_change, report_and_statistics, baselines, diffusion_hjb):
        for figure in measure():
            print(figure, flush=True)
            missed += not figure.met
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
