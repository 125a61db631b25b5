"""One row of figures about a run: is the generator right, is the value right, where does the time go?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hjbbench.hjb.residual import energy_distance

if TYPE_CHECKING:
    from hjbbench.hjb.agent import DiffusionHJB

N_HELD_OUT = 500
"""Held-out transitions per figure."""


@torch.no_grad()
def measure(agent: DiffusionHJB) -> dict[str, float]:
    """Figures in the units their names carry; draws from a generator of its own, so that measuring changes nothing."""
    rng = torch.Generator(agent.rng.device).manual_seed(agent.replay.size)
    row = _model_errors(agent, rng) | _value_figures(agent)
    updates, policy = max(1, agent.n_updates), agent.policy
    parts = {f"{part}_ms_per_update": 1000 * seconds / updates for part, seconds in agent.seconds.items()}
    return row | {
        "critic_loss": agent.critic_loss.item(),
        "entropy_per_decision": agent.entropy.item(),
        "temperature": policy.temperature.item(),
        "smoothness_weight": policy.log_weight.exp().item(),
        "action_rate_target_per_s": policy.rate_target.item(),
        "policy_gradient_norm": float(policy.gradient_norm),
        **parts,
    }


def _model_errors(agent: DiffusionHJB, rng: torch.Generator) -> dict[str, float]:
    """Errors of each member on its own fold, over the spread of one decision's increments and of the states."""
    generator, replay = agent.generator, agent.replay
    n = N_HELD_OUT // agent.config.generator_members
    index = generator.folds.held_out(replay.size, n, rng, window=5)
    start, state = replay[index], replay[index].state.flatten(0, 1)
    silence = torch.zeros_like(state)
    errors: list[Tensor] = []
    for k in range(5):
        data = replay[index + k]
        state = generator.step(state, data.action.flatten(0, 1), silence).next_state
        errors.append(state - data.next_state.flatten(0, 1))
    # A window may cross the end of an episode; such rows say nothing.
    whole = torch.isin(index.flatten(), replay.within_episode(5))
    increment = (start.next_state - start.state).flatten(0, 1).std(0) + 1e-8
    one, five = errors[0] / increment, errors[4][whole] / generator.standardise.std
    noise = generator.noise(1, len(state), rng)[0]
    z, condition = generator.residuals(replay, N_HELD_OUT, rng)
    drawn = generator.standard(noise[: len(z)], condition)
    return {
        "error_1_step": one.square().mean().sqrt().item(),
        "error_5_steps": five.square().mean().sqrt().item(),
        "residual_std_ratio": (drawn.std(0) / z.std(0)).mean().item(),
        "residual_energy_distance": energy_distance(drawn, z),
        "residual_calls": float(generator.residual_calls),
    }


def _value_figures(agent: DiffusionHJB) -> dict[str, float]:
    """The critic against the discounted return of the newest episode, and the weak HJB residual."""
    critic, policy = agent.critic, agent.policy
    price = policy.temperature * critic.reward_range
    low, high = critic.value_range()
    row = {"value_low": low.item(), "value_high": high.item()}
    if agent.rollout is not None:
        row["hjb_residual"] = agent.flow.hjb_residual(agent.rollout, price).item()
    episode = agent.replay[agent.replay.last_episode()]
    if len(episode.reward):
        end = torch.cat([episode.state, episode.next_state[-1:]])
        value = critic.value(end, policy.mean(end)).mean(0)
        total = value[-1] * (1 - episode.terminated[-1])
        bonus = (
            price * agent.entropy
        )  # the critic counts entropy from the next decision on; so must what it is compared with
        returns = []
        for k in range(len(episode.reward) - 1, -1, -1):
            following = total + bonus * (1 - episode.terminated[k])
            total = episode.reward[k] + critic.discount * following
            returns.append(total)
        observed = torch.stack(returns[::-1])
        row |= {"value_mean": value[:-1].mean().item(), "return_to_go_mean": observed.mean().item()}
    return row
