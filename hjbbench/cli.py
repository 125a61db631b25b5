"""The command line: the one place that puts the parts together."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hjbbench.errors import UserError
from hjbbench.terminal import exit_code, parse_factors, parse_settings, print_table

app = typer.Typer(
    name="hjbbench",
    help="Convergence speed and policy smoothness of continuous-time reinforcement learning, measured by one harness.",
    epilog="A first look: hjbbench run quick && hjbbench report results/quick",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Kind(StrEnum):
    tasks = "tasks"
    agents = "agents"
    suites = "suites"


class Executor(StrEnum):
    local = "local"
    ray = "ray"


JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command("list", help="Show the registered tasks and agents and the shipped suites.")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="Only these.")] = None,
    as_json: JsonOption = False,
) -> None:
    from hjbbench import catalogue

    found = {each.value: getattr(catalogue, each.value)() for each in Kind if kind in (None, each)}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for heading, rows in found.items():
        print_table(heading, rows)


@app.command(help="Run a suite: everything of it that has no result yet.")
def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name or the path of a .toml file.")],
    tasks: Annotated[
        str | None, typer.Option(help="Only tasks that match, optional ones too, e.g. 'locomotion/*,control/*'.")
    ] = None,
    agents: Annotated[str | None, typer.Option(help="Only agents that match.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Other seeds than the suite's: 0-9, 3 or 0,2,5-7.")] = None,
    steps: Annotated[int | None, typer.Option(help="Another budget of decisions per run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at a time; one per core unless given.")] = None,
    executor: Annotated[Executor, typer.Option(help="Where runs are carried out.")] = Executor.local,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster's address, or auto; a local Ray is started unless given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results; results/SUITE unless given.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="agent.setting=value, in JSON or plain text; repeatable.")
    ] = None,
    keep_policy: Annotated[bool, typer.Option("--keep-policy", help="Keep checkpoint.pt of runs made now.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also repeat errors and timeouts.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite runs of another configuration.")] = False,
) -> None:
    from rich.console import Console

    from hjbbench import campaign, planning
    from hjbbench.executors import run_local
    from hjbbench.progress import Progress
    from hjbbench.ray_executor import run_ray

    for name, value in (("--steps", steps), ("--workers", workers)):
        if value is not None and value < 1:
            raise UserError(f"{name}: {value} is not allowed, must be at least 1")
    if address is not None and executor is not Executor.ray:
        raise UserError(f"--address: {address!r} is for --executor ray, not {executor.value}")
    chosen = planning.load_suite(suite)
    overrides = parse_settings(settings or [])
    specs, left_out = planning.plan(chosen, tasks, agents, seeds, steps, overrides, keep_policy)
    belonging = None
    if chosen.name not in planning.suite_names():  # else its name says what belongs in the folder
        belonging, _ = planning.plan(chosen, n_steps=steps, overrides=overrides)
    root = out or Path("results") / chosen.name
    console = Console()
    with campaign.at_work(root):
        todo = campaign.pending(specs, root, replace, retry_failed)
        if belonging is not None:
            campaign.save_plan([*belonging, *specs], root)
        for reason in left_out:
            console.print(f"left out: {reason}", style="dim", markup=False, soft_wrap=True)
        console.print(
            f"{len(specs)} runs, {len(specs) - len(todo)} finished before, {len(todo)} to do in {root}", soft_wrap=True
        )
        with Progress(todo, console) as progress:
            try:
                if executor is Executor.ray:
                    counts = run_ray(todo, root, address, workers, progress.listen)
                else:
                    counts = run_local(todo, root, workers or os.cpu_count() or 1, progress.listen)
            except KeyboardInterrupt:
                raise UserError(f"stopped; finished runs are whole, the same command goes on from {root}") from None
    failed = {name: count for name, count in counts.items() if name != "done"}
    if failed:
        console.print("failed: " + ", ".join(f"{count} {name}" for name, count in failed.items()), soft_wrap=True)


@app.command(help="Show what of a folder is done, running, missing or failed, and the hours left.")
def status(folder: Path, as_json: JsonOption = False) -> None:
    from dataclasses import asdict

    from hjbbench import campaign

    found = campaign.status(folder)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    typer.echo(", ".join(f"{count} {state}" for state, count in sorted(found.counts.items())) or "no runs")
    for label in found.running:
        typer.echo(f"running: {label}")
    for failure in found.failed:
        typer.echo(f"{failure['status']}: {failure['run']}: {failure['error']}")
    if found.missing:
        typer.echo(f"missing: {', '.join(found.missing[:5])}{' ...' if len(found.missing) > 5 else ''}")
    left = "unknown until a run has finished" if found.left_h is None else f"{found.left_h:.2f} h of one worker"
    typer.echo(f"left: {left}")


@app.command(help="Write tables, figures and the page of a folder of runs; print the leaderboard.")
def report(
    folder: Path,
    claims: Annotated[
        Path | None, typer.Option(help="Claims to judge on the page; ./claims.toml where it exists.")
    ] = None,
    others: Annotated[
        list[Path] | None, typer.Option("--with", help="Judge the claims on these runs too; repeatable.")
    ] = None,
) -> None:
    from hjbbench.report import write_report

    if claims is None and Path("claims.toml").is_file():
        claims = Path("claims.toml")
    if claims is None and others:
        raise UserError("--with: there are no claims to judge; name them with --claims")
    leaderboard, page = write_report(folder, claims, others or ())
    typer.echo(leaderboard)
    typer.echo(f"page: {page}")


@app.command(help="Judge the claims: exit 0 all hold, 1 one is refuted, 2 one was not measured, 3 one is undecided.")
def check(
    folders: Annotated[list[Path], typer.Argument(help="Results; several are judged together.")],
    claims: Annotated[Path, typer.Option(help="The claims.")] = Path("claims.toml"),
    as_json: JsonOption = False,
) -> None:
    from hjbbench import claims as claims_module
    from hjbbench.claim import load_claims
    from hjbbench.store import read_together

    runs = [run for found in read_together(folders) for run in found]
    verdicts = claims_module.judge(load_claims(claims), runs)
    if as_json:
        typer.echo(json.dumps(claims_module.to_json(verdicts), indent=1))
    else:
        shown = (
            "verdict",
            "name",
            "estimate",
            "ci_low",
            "ci_high",
            "demand",
            "n_runs_agent",
            "n_runs_baseline",
            "reason",
        )
        print_table(
            ", ".join(map(str, folders)), [{key: getattr(verdict, key) for key in shown} for verdict in verdicts]
        )
    raise typer.Exit(claims_module.exit_code(verdicts))


@app.command(
    help="Compare two results: exit 0 nothing got worse, 1 a regression, 2 unlike runs, 3 too few runs to tell."
)
def compare(old: Path, new: Path, as_json: JsonOption = False) -> None:
    from dataclasses import asdict

    from hjbbench import compare as compare_module
    from hjbbench.store import read_runs

    changes = compare_module.compare(read_runs(old), read_runs(new))
    if as_json:
        typer.echo(json.dumps([asdict(change) for change in changes], indent=1))
    else:
        print_table(f"{old} -> {new}; less is better", [asdict(change) for change in changes])
    raise typer.Exit(compare_module.exit_code(changes))


@app.command(help="Evaluate a kept policy again, also at other control intervals.")
def evaluate(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, kept with --keep-policy.")],
    dt: Annotated[str, typer.Option(help="Multiples of the run's dt, e.g. 0.5,1,2.")] = "1",
    episodes: Annotated[int, typer.Option(help="Episodes per multiple.")] = 20,
    as_json: JsonOption = False,
) -> None:
    from hjbbench import playback

    if episodes < 1:
        raise UserError(f"--episodes: {episodes} is not allowed, must be at least 1")
    rows = playback.evaluate(run_folder, parse_factors(dt), episodes)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    shown = ("dt_factor", "dt", "return_mean", "return_std", "length_s_mean", "action_rate_rms_per_s", "success_rate")
    print_table(f"{run_folder}, {episodes} episodes", [{name: row[name] for name in shown} for row in rows])


@app.command(help="Film one episode of a kept policy.")
def render(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, kept with --keep-policy.")],
    out: Annotated[Path | None, typer.Option(help="The GIF; policy.gif in the run's folder unless given.")] = None,
    seed: Annotated[int, typer.Option(help="Which episode.")] = 0,
) -> None:
    from hjbbench import playback

    target = out or run_folder / "policy.gif"
    episode_return = playback.film(run_folder, target, seed)
    typer.echo(f"{target}: one episode, return {episode_return:.5g}")


@app.command(help="Print BibTeX for what a run used, or for hjbbench itself.")
def cite(
    run_folder: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run's folder.")] = None,
) -> None:
    from hjbbench.cite import bibtex
    from hjbbench.store import read_run

    found = read_run(run_folder) if run_folder else None
    if run_folder and found is None:
        raise UserError(f"{run_folder}: no run here (run.json is missing)")
    record = found.record if found else {}
    typer.echo(bibtex(record.get("variant_of") or record.get("agent"), record.get("task")))


def main() -> None:
    """Run the command line; a person's mistake is one line on stderr and exit code 2."""
    sys.exit(exit_code(lambda: app(standalone_mode=False)))


if __name__ == "__main__":
    main()
