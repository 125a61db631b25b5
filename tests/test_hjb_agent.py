"""The agent as the harness sees it: seeded, resumable, and clear about what it cannot run on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from hjbbench.errors import Diverged, UserError
from hjbbench.hjb import valuation
from hjbbench.hjb.agent import DiffusionHJB
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.flow import HamiltonianFlow
from hjbbench.hjb.policy import Improvement
from hjbbench.planning import load_suite, plan
from hjbbench.protocol import Reference, Task
from hjbbench.registry import get_agent

SMALL = HJBConfig(
    width=16,
    warmup_steps=100,
    batch=20,
    rollout_batch=20,
    rollout_steps=4,
    generator_batch=32,
    generator_first_updates=20,
    policy_first_updates=20,
    look_every=50,
)


class Point(gym.Env):
    """x' = x + 0.1 a with cost x^2; an episode is 40 decisions, or ends at |x| > 2."""

    def __init__(self, reward: float | None = None, broken_at: int | None = None, action_high: float = 1.0) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gym.spaces.Box(-action_high, action_high, (1,), np.float32)
        self._reward, self._broken_at, self._count = reward, broken_at, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._x, self._t = self.np_random.uniform(-1, 1, 2), 0
        return self._x.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._count += 1
        self._t += 1
        self._x = self._x + 0.1 * np.array([action[0], self._x[0]])
        obs = np.full(2, np.nan) if self._count == self._broken_at else self._x.copy()
        reward = -float(self._x @ self._x) if self._reward is None else self._reward
        return obs, reward, bool(abs(self._x[0]) > 2), self._t >= 40, {}


def task_of(**settings: Any) -> Task:
    return Task("test/point", Point, 0.1, 4.0, 0.1, (0.0,), Reference(-1.0, 0.0, "none"), **settings)


class CountingClock:
    """Counts, saves the agent where it is told to, and keeps the diagnostics."""

    def __init__(self, budget: int, save_at: int | None = None, path: Path | None = None) -> None:
        self.budget_steps, self.n_steps, self.n_updates = budget, 0, 0
        self.rows: list[dict[str, float]] = []
        self.agent: DiffusionHJB | None = None
        self._save_at, self._path = save_at, path

    @property
    def running(self) -> bool:
        return self.n_steps < self.budget_steps

    def tick(self, steps: int = 0, updates: int = 0) -> bool:
        self.n_steps += steps
        self.n_updates += updates
        if self.n_steps == self._save_at and self.agent and self._path:
            self.agent.save(self._path)
        return self.running

    def record(self, values: dict[str, float]) -> None:
        self.rows.append(dict(values))

    def checkpoint(self) -> None:
        """Nobody is going to be killed here."""


def trained(
    budget: int, seed: int = 0, config: HJBConfig = SMALL, **settings: Any
) -> tuple[DiffusionHJB, CountingClock]:
    env, clock = Point(), CountingClock(budget, **settings)
    env.reset(seed=7)
    agent = DiffusionHJB(task_of(), env, config, seed)
    clock.agent = agent
    agent.learn(env, clock)
    return agent, clock


def weights(agent: DiffusionHJB) -> list[torch.Tensor]:
    nets = [agent.generator.net, agent.generator.scale_net, agent.policy.net, agent.policy.average]
    nets += [*agent.critic.nets.values(), *agent.critic.target_nets.values()]
    return [p.detach() for net in nets for p in net.parameters()]


def test_policy_and_value_do_not_change_with_their_units() -> None:
    agent, _ = trained(120)
    state = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))

    def answers() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            action = agent.policy.mean(state)
            return action, agent.critic.value(state, action)

    before, mean = answers(), agent.units.mean.clone()
    agent.replay.add(np.array([30.0, -4.0]), np.zeros(1), np.array([31.0, -4.0]), 0.0, False, agent.task.dt)
    agent._look()
    assert (agent.units.mean - mean).abs().max() > 0.1
    for one, other in zip(before, answers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_it_is_registered_with_its_defaults() -> None:
    entry = get_agent("diffusion-hjb")
    assert entry.config == HJBConfig()
    assert dataclasses.is_dataclass(entry.config)


def test_equal_seeds_are_bitwise_equal_and_others_are_not() -> None:
    one, two, other = trained(160)[0], trained(160)[0], trained(160, seed=1)[0]
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert not torch.equal(weights(one)[0], weights(other)[0])


@pytest.mark.parametrize(
    "settings",
    [{}, {"critic": "advantage", "residual": "diffusion", "flow": "pinn", "smoothness": "rate+champ"}],
    ids=["default", "others"],
)
def test_every_tensor_is_made_on_the_agents_own_device(settings: dict[str, Any]) -> None:
    """With "meta" as the default device, the CPU is like a GPU: what names no device is out of place."""
    with torch.device("meta"):
        agent, _ = trained(110, config=dataclasses.replace(SMALL, **settings))
        assert np.isfinite(agent.value(np.zeros((3, 2)))).all()
    assert all(tensor.device == agent.rng.device for tensor in weights(agent))


def test_fused_updates_are_the_plain_ones(
    as_one_graph: list[torch.fx.GraphModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(103)[0]
    monkeypatch.setattr("hjbbench.hjb.agent.pays_off", lambda *_: True)
    fused = trained(103)[0]
    assert len(as_one_graph) == 5  # steps of generator, scale, policy and critic, and of a rollout
    for one, other in zip(weights(fused), weights(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("residual", ["auto", "diffusion"])
def test_a_resumed_run_is_bitwise_equal_to_one_that_never_stopped(tmp_path: Path, residual: str) -> None:
    """Stopped at the end of an episode, where the harness takes its checkpoints; the environment goes on as it was."""
    config, path = dataclasses.replace(SMALL, residual=residual, residual_every=2), tmp_path / "checkpoint.pt"
    whole, _ = trained(280, config=config, save_at=160, path=path)

    env = Point()
    env.reset(seed=7)
    for _ in range(4):  # the episodes of 40 decisions that came before, and the reset that began each
        env.reset()
    resumed = DiffusionHJB(task_of(), env, config, seed=99)
    resumed.load(path)
    resumed.learn(env, CountingClock(120))
    assert resumed.replay.size == whole.replay.size == 280
    assert torch.equal(resumed.replay[:].state, whole.replay[:].state)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_asking_for_actions_and_values_changes_nothing() -> None:
    agent, _ = trained(140)
    state = agent.rng.get_state()
    obs = np.random.default_rng(0).normal(size=(7, 2))
    first, second = agent.value(obs), agent.value(obs)
    assert first.shape == (7,)
    np.testing.assert_array_equal(first, second)
    assert agent.act(obs).shape == (7, 1)
    np.testing.assert_allclose(agent.act(obs[0]), agent.act(obs)[0], rtol=1e-5)
    assert np.abs(agent.act(obs)).max() <= 1
    assert torch.equal(agent.rng.get_state(), state)


def kick(agent: DiffusionHJB) -> torch.Tensor:
    return agent.generator.kick(torch.zeros(5, 2), torch.zeros(5, 1), torch.ones(5, 2))


def improvement(agent: DiffusionHJB) -> Improvement:
    return agent.policy.improve(agent.generator, agent.critic, torch.zeros(5, 2))


def pairs_share_their_start(agent: DiffusionHJB) -> bool:
    start = agent.rollout.state[0]
    return torch.equal(start[::2], start[1::2])


default_agent = cache(lambda: trained(130)[0])


@pytest.mark.parametrize(
    ("settings", "shows"),
    [
        ({"flow": "one-step"}, lambda agent: agent.flow.trace == 0),
        ({"critic": "advantage"}, lambda agent: set(agent.critic.nets) == {"v", "a"}),
        ({"residual": "gaussian"}, lambda agent: not agent.generator.residual.net.weights[-1].any()),  # learns none
        ({"residual": "deterministic"}, lambda agent: not kick(agent).any()),
        ({"residual": "diffusion"}, lambda agent: agent.generator.residual_calls == 2),
        ({"smoothness": "off"}, lambda agent: improvement(agent).rate == 0),
        ({"smoothness": "rate+champ"}, lambda agent: improvement(agent).champ > 0),
        ({"antithetic": True}, pairs_share_their_start),
    ],
    ids=lambda one: str(one) if isinstance(one, dict) else "",
)
def test_every_switch_shows(settings: dict[str, Any], shows: Callable[[DiffusionHJB], bool]) -> None:
    agent, clock = trained(130, config=dataclasses.replace(SMALL, **settings))
    assert clock.n_updates == SMALL.policy_first_updates + 30
    assert np.isfinite(agent.value(np.zeros((1, 2)))).all()
    assert shows(agent)
    assert not shows(default_agent())


@pytest.mark.parametrize(("flow", "n_residuals"), [("resolvent", 0), ("explicit", 0), ("pinn", 50)])
def test_the_gradient_form_alone_descends_its_residual(
    monkeypatch: pytest.MonkeyPatch, flow: str, n_residuals: int
) -> None:
    residual, asked = HamiltonianFlow.residual, []

    def counted(*args: Any) -> torch.Tensor:
        asked.append(residual(*args))
        return asked[-1]

    monkeypatch.setattr(HamiltonianFlow, "residual", counted)
    agent, clock = trained(130, config=dataclasses.replace(SMALL, flow=flow))
    assert (len(asked), clock.n_updates) == (n_residuals, 50)
    assert np.isfinite(agent.value(np.zeros((1, 2)))).all()


def test_diagnostics_are_finite_and_complete() -> None:
    _, clock = trained(1000)
    (row,) = clock.rows
    assert all(math.isfinite(value) for value in row.values()), row
    assert {"error_1_step", "error_5_steps", "residual_std_ratio", "residual_energy_distance", "hjb_residual"} <= set(
        row
    )
    assert {"value_mean", "return_to_go_mean", "entropy_per_decision", "policy_gradient_norm"} <= set(row)
    assert row["policy_ms_per_update"] > 0


def test_diagnostics_judge_the_law_that_rollouts_draw_from() -> None:
    _, clock = trained(1000, config=dataclasses.replace(SMALL, residual="deterministic"))
    assert clock.rows[0]["residual_std_ratio"] == 0
    assert clock.rows[0]["residual_energy_distance"] > 0


@pytest.mark.parametrize(
    ("env", "settings", "match"),
    [
        (Point(action_high=np.inf), {}, "action space"),
        (Point(), {"dt": 0.0}, "dt"),
        (Point(), {"discount_rate": 0.0}, "discount_rate"),
        (Point(reward=1.0), {}, "reward is 1"),
        (Point(broken_at=5), {}, "observation"),
    ],
    ids=["unbounded", "dt", "discount", "constant-reward", "nan"],
)
def test_bad_input_names_the_task_and_the_field(env: Point, settings: dict[str, Any], match: str) -> None:
    task = dataclasses.replace(task_of(), **settings)
    with pytest.raises(UserError, match=match) as caught:
        DiffusionHJB(task, env, SMALL, 0).learn(env, CountingClock(110))
    assert "test/point" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_suite_leaves_out_an_undiscounted_task() -> None:
    suite = dataclasses.replace(load_suite("oracle-learned"), tasks=["oracle/oscillator", "oracle/zubov"])
    runs, left_out = plan(suite, agents="diffusion-hjb")
    assert {run.task for run in runs} == {"oracle/oscillator"}
    assert left_out == ["diffusion-hjb on oracle/zubov: discount_rate is 0 1/s, must be positive"]


def test_discrete_actions_are_refused() -> None:
    env = Point()
    env.action_space = gym.spaces.Discrete(2)  # type: ignore[assignment]
    with pytest.raises(UserError, match="action space"):
        DiffusionHJB(task_of(), env, SMALL, 0)


def test_divergence_is_reported() -> None:
    env = Point()
    agent = DiffusionHJB(task_of(), env, SMALL, 0)
    agent.learn(env, CountingClock(110))
    with torch.no_grad():
        agent.critic.nets["q"].weights[0].fill_(float("nan"))
    with pytest.raises(Diverged, match="test/point"):
        agent.learn(env, CountingClock(200))


@pytest.mark.parametrize(("noise", "rounds"), [(0.1, {1}), (1.0, {4, 5, 6}), (20.0, {valuation.ROUNDS})])
def test_values_are_sampled_until_they_are_precise(
    monkeypatch: pytest.MonkeyPatch, noise: float, rounds: set[int]
) -> None:
    agent, _ = trained(110)
    asked = []

    def sample(_generator, _policy, _critic, start: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        asked.append(len(start))
        return 10 + noise * torch.randn(SMALL.generator_members, len(start), generator=rng)

    monkeypatch.setattr(valuation, "sample", sample)
    value = agent.value(np.zeros((200, 2)))
    assert len(asked) in rounds  # noise / 10 / sqrt(5 rounds) is to be 2 %
    assert abs(value.mean() - 10) < 0.1 * noise


@pytest.mark.parametrize("suite", ["standard", "dt-quarter", "oracle-learned"])
def test_where_values_are_compared_rollouts_leave_the_critic_no_say(suite: str) -> None:
    """The critic counts exploration, several times the value of a chain: it may weigh e^-7 at the end of a rollout."""
    specs = [spec for spec in plan(load_suite(suite))[0] if spec.agent == "diffusion-hjb"]
    tasks = [task for spec in specs if (task := spec.resolve()[0]).optimal_value]
    assert tasks
    assert all(valuation.STEPS_MAX * task.discount_rate * task.dt > 7 for task in tasks)


def test_nothing_is_worth_anything_before_the_first_fit() -> None:
    env = Point()
    agent = DiffusionHJB(task_of(), env, SMALL, 0)
    assert (agent.value(np.full((3, 2), 100.0)) == 0).all()


class Cliff(Point):
    """The same with 40 paid once where the episode ends at |x| > 0.5."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, _, truncated, info = super().step(action)
        fell = self.over(None, None, obs)
        return obs, reward - 40.0 * fell, bool(fell), truncated, info

    @staticmethod
    def over(obs: Any, action: Any, next_obs: Any) -> Any:
        return abs(next_obs[..., 0]) > 0.5


def test_what_an_exit_pays_is_learned_and_is_no_unit_of_anything() -> None:
    env, task = Cliff(), task_of(terminated=Cliff.over)
    env.reset(seed=7)
    agent = DiffusionHJB(task, env, SMALL, 0)
    agent.learn(env, CountingClock(200))
    rewards = agent.replay[:].reward[agent.replay[:].terminated > 0]
    assert agent.generator.exits.payoff == pytest.approx(rewards.mean().item(), abs=1.0)
    assert agent.generator.exits.payoff < -40
    edge = torch.tensor([[0.49, 0.0]])
    following = agent.generator.step(edge, torch.ones(1, 1), torch.tensor([[0.1, 0.0]]))
    assert following.terminated.all()
    assert following.reward == agent.generator.exits.payoff
    assert agent.critic.reward_range < 5
    assert agent.critic.value_range()[0] <= -40
