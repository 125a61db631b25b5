"""One run: task x agent x seed -> one run directory. Run as a module it is the process of a single run."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hjbbench import sources
from hjbbench.checkpoint import Checkpoints, global_generators, set_global_generators
from hjbbench.clock import RunClock, evaluation_points
from hjbbench.errors import Diverged, Unwritable, UserError, told
from hjbbench.lock import hold, release
from hjbbench.protocol import Task
from hjbbench.record import close_record, new_record
from hjbbench.seeding import derive_seed
from hjbbench.spec import RunSpec
from hjbbench.speed import speed_gflops
from hjbbench.store import EPISODE_COLUMNS, EVAL_COLUMNS, clear, write_record, write_rows, writing

Event = dict[str, Any]


def execute(spec: RunSpec, directory: Path, emit: Callable[[Event], None] = lambda event: None) -> str:
    """Carry out one run, or the rest of one that was killed, and write its directory; returns its status.

    ``emit`` hears of progress. Whatever the agent raises becomes the run's status: an agent's failure is a result, not
    the end of the suite.
    """
    import torch

    torch.set_num_threads(spec.resources().cores)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lock = hold(directory)
        clear(directory)
    record = new_record(spec)
    write_record(directory, record)  # until the run ends, a kill leaves "interrupted"
    run = _Execution(spec, directory, record, emit)
    try:
        run.train()
        status, error = "done", None
    except Diverged as problem:
        status, error = "diverged", str(problem)
    except Unwritable:
        raise
    except Exception as problem:
        status, error = "error", f"{type(problem).__name__}: {told(problem)}"
        traceback.print_exc()
    run.finish(status, error)
    if status != "error":  # which may be the machine's: what a repetition can go on from stays
        run.checkpoints.remove(spec.keep_policy and status == "done")
    release(directory, lock)
    return status


class _Execution:
    """The pieces of one run while it goes on."""

    def __init__(self, spec: RunSpec, directory: Path, record: Event, emit: Callable[[Event], None]) -> None:
        self.spec, self.directory, self.record, self.emit = spec, directory, record, emit
        self.rows: list[Event] = []
        self.speeds_gflops: list[float] = []  # one per evaluation
        self.diagnostics: list[dict[str, float]] = []
        self.clock: RunClock | None = None
        deciding = ("config_hash", "task_version", "versions", "git_revision")
        self.task, self.entry, self.config = spec.resolve()
        # the commit says nothing of edits since, nor of another package's agent or task
        identity = {name: record[name] for name in deciding} | {
            "source": sources.digest(self.entry.factory, self.task.make)
        }
        self.checkpoints = Checkpoints(directory, identity, spec.checkpoint_every_s)

    def train(self) -> None:
        import gymnasium as gym

        from hjbbench.environment import TrainingEnv
        from hjbbench.evaluation import Evaluator

        spec, task = self.spec, self.task
        seed = derive_seed(task.name, spec.seed, "training")
        self.env = TrainingEnv(task.make(dt=task.dt), task.dt, seed, spec.n_steps)
        if not isinstance(self.env.action_space, gym.spaces.Box):
            raise UserError(f"{task.name}: action space is {self.env.action_space}, must be a Box")
        self.evaluator = Evaluator(task, spec.n_eval_episodes, spec.seed)
        self.columns = (*EVAL_COLUMNS, *task.own_columns)
        self.agent = self.entry.factory(task, self.env, self.config, derive_seed(task.name, spec.seed, "agent"))
        points = evaluation_points(spec.n_steps, spec.n_evals)
        self.clock = RunClock(spec.n_steps, points, self.evaluate, self.diagnostics.append, task.dt, self.checkpoint)
        if found := self.checkpoints.load():
            self.resume(*found)
        self.agent.learn(self.env, self.clock)
        if self.clock.running:
            raise RuntimeError(f"learn returned after {self.clock.n_steps} of {spec.n_steps} decisions")
        self.sweep_dt(task)
        if spec.keep_policy:
            self.checkpoints.keep(self.agent)

    def evaluate(self, clock: RunClock) -> None:
        import numpy as np
        import torch

        self.check_count(clock)
        costs = {
            "n_steps": clock.n_steps,
            "t_env_s": round(clock.t_env_s, 6),
            "n_updates": clock.n_updates,
            "t_wall_s": round(clock.t_wall_s, 3),
        }
        numpy_state = np.random.get_state()  # noqa: NPY002  evaluation must not disturb what the agent draws next
        with torch.random.fork_rng(devices=[]):
            row = costs | self.evaluator.evaluate(self.agent)
        np.random.set_state(numpy_state)  # noqa: NPY002
        self.rows.append(row)
        self.speeds_gflops.append(speed_gflops())
        self.write_tables()
        self.emit({"n_steps": clock.n_steps, "return_mean": row["return_mean"], "t_wall_s": row["t_wall_s"]})

    def check_count(self, clock: RunClock) -> None:
        if self.env.n_steps != clock.n_steps:
            raise RuntimeError(f"the agent reported {clock.n_steps} decisions but took {self.env.n_steps}")

    def checkpoint(self) -> None:
        """Keep the run as it is now, when it is time to."""
        assert self.clock is not None
        if not self.checkpoints.due:
            return
        self.check_count(self.clock)
        state = {
            "started_at": self.record["started_at"],
            "resumed_at_steps": self.record["resumed_at_steps"],
            "clock": self.clock.costs(),
            "env": self.env.state(),
            "evals": self.rows,
            "speeds_gflops": self.speeds_gflops,
            "diagnostics": self.diagnostics,
            "generators": global_generators(),
        }
        self.checkpoints.save(self.agent, state)
        self.emit({"n_steps": self.clock.n_steps, "t_wall_s": self.clock.t_wall_s})

    def resume(self, agent_file: Path, state: Event) -> None:
        """Take up the run where its checkpoint was made."""
        assert self.clock is not None
        self.env.resume(state["env"])
        self.agent.load(agent_file)
        self.rows[:] = state["evals"]
        self.speeds_gflops[:] = state["speeds_gflops"]
        self.diagnostics[:] = state["diagnostics"]
        self.evaluator.n_evaluations = len(self.rows)
        self.clock.resume(state["clock"])
        self.record["started_at"] = state["started_at"]
        self.record["resumed_at_steps"] = [*state["resumed_at_steps"], self.clock.n_steps]
        write_record(self.directory, self.record)
        self.emit({"n_steps": self.clock.n_steps, "t_wall_s": self.clock.t_wall_s, "spent_s": self.clock.spent_s})
        set_global_generators(state["generators"])

    def sweep_dt(self, task: Task) -> None:
        """Evaluate the trained policy at other control intervals: dt_sweep.csv, one row per factor."""
        from hjbbench.evaluation import at_intervals

        rows = list(at_intervals(task, self.agent, self.spec.dt_factors, self.spec.n_eval_episodes, self.spec.seed))
        if rows:
            write_rows(self.directory / "dt_sweep.csv", list(rows[0]), rows)

    def write_tables(self) -> None:
        write_rows(self.directory / "evals.csv", self.columns, self.rows)
        write_rows(self.directory / "episodes.csv", EPISODE_COLUMNS, self.env.episodes)
        if self.diagnostics:
            columns = list(dict.fromkeys(name for row in self.diagnostics for name in row))
            write_rows(self.directory / "diagnostics.csv", columns, self.diagnostics)

    def finish(self, status: str, error: str | None) -> None:
        if self.clock is not None:
            self.record["totals"] = {
                "n_steps": self.clock.n_steps,
                "t_env_s": self.clock.t_env_s,
                "n_updates": self.clock.n_updates,
                "t_wall_s": self.clock.t_wall_s,
                "t_eval_s": self.clock.t_eval_s,
                "t_checkpoint_s": self.clock.t_checkpoint_s,
            }
            self.write_tables()
        if self.speeds_gflops:
            self.record["speed_gflops"] = sum(self.speeds_gflops) / len(self.speeds_gflops)
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        close_record(self.record, status, error)
        self.record["peak_rss_mb"] = peak_kb / 1024
        write_record(self.directory, self.record)


def _die_with_parent() -> None:
    """End this process when the driver's end of standard input closes, however the driver ended."""

    def watch() -> None:
        while sys.stdin.read(1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """The process of one run: a RunSpec as JSON on the first line of stdin, events as JSON lines on stdout."""
    spec = RunSpec(**json.loads(sys.stdin.readline()))
    directory = Path(sys.argv[1])
    _die_with_parent()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to the log, not into the events

    def emit(event: Event) -> None:
        channel.write(json.dumps(event) + "\n")

    try:
        emit({"status": execute(spec, directory, emit)})
    except Unwritable as problem:
        emit({"unwritable": str(problem)})


if __name__ == "__main__":
    main()
