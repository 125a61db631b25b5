"""What the deterministic policy is worth: rollouts of the generator with opposite noises, and the critic beyond them.

The critic alone would count exploration and its entropy bonus. Every rollout is handed from member to member, so that
it follows their mean drift: the error of one member's own would last and add up.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hjbbench.hjb.law import GeneratorLaw
from hjbbench.hjb.policy import Policy
from hjbbench.hjb.value import Critic

HORIZONS = 9.0
"""A rollout follows the generator for this many discount horizons 1/rho; beyond, the critic weighs e^-9: it values the
exploring policy, which on the oscillator costs 40 where the mean action costs nothing."""
STEPS_MAX = 3000
"""Decisions of a rollout at most. Cut short after 5 horizons, values on lqr-d8 were off by another 4 %."""
ROLLOUTS = 2
"""Rollouts per state, member and round, with opposite noises."""
ROUNDS = 10
PRECISION = 0.02
"""Rounds end when the standard error of the values is this share of their size: after the first on most plants, while
on lqr-d2, where noise makes up all of the value, one round leaves 6 %."""


def value(generator: GeneratorLaw, policy: Policy, critic: Critic, start: Tensor) -> Tensor:
    """V (n,) at ``start`` (n, obs_dim) in reward units, from as many rounds of rollouts as its precision needs."""
    rng = torch.Generator(start.device).manual_seed(0)  # asking must not change the run
    samples = torch.zeros(0, len(start), device=start.device)
    for _ in range(ROUNDS):
        samples = torch.cat([samples, sample(generator, policy, critic, start, rng)])
        standard_error = (samples.var(0).mean() / len(samples)).sqrt()
        if standard_error <= PRECISION * samples.mean(0).square().mean().sqrt():
            break
    return samples.mean(0)


def sample(generator: GeneratorLaw, policy: Policy, critic: Critic, start: Tensor, rng: torch.Generator) -> Tensor:
    """The discounted return of one round of rollouts from every state, (members, n)."""
    members, discount = generator.config.generator_members, critic.discount
    steps = min(STEPS_MAX, math.ceil(HORIZONS / -math.log(discount)))
    block = ROLLOUTS * len(start)
    state = start.repeat_interleave(ROLLOUTS, 0).repeat(members, 1)
    total, weight = torch.zeros(len(state), device=state.device), torch.ones(len(state), device=state.device)
    for _ in range(steps):
        noise = generator.noise(1, len(state), rng, antithetic=True)[0]
        action = policy.mean(state)
        kick = generator.kick(state, action, noise)
        state, reward, terminated = generator.step(state, action, kick)
        total = total + weight * reward
        weight = discount * weight * ~terminated
        state, total, weight = state.roll(block, 0), total.roll(block), weight.roll(block)
    total = total + weight * critic.value(state, policy.mean(state)).mean(0)
    return total.view(members, len(start), ROLLOUTS).mean(2)
