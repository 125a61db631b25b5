"""Every setting of the diffusion-HJB agent; the defaults serve all tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from hjbbench.errors import UserError


@dataclass(frozen=True)
class HJBConfig:
    """Settings of the diffusion-HJB agent. Reasons beside the fields; the trials behind them are in docs/tuning.md."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks are."""
    warmup_steps: int = 1000
    """Uniformly random decisions before learning starts."""
    short_episode: int = 200
    """Decisions after which an early episode is reset: a robot that falls on its back must not stay there for long."""
    short_until: int = 3000
    """Decisions until which episodes are short."""
    width: int = 128
    """Hidden units of every network."""
    batch: int = 125
    """States of one policy update and sampled states of one critic update."""

    generator_members: int = 5
    generator_lr: float = 1e-3
    generator_batch: int = 128
    """Transitions per member and update."""
    generator_every: int = 1
    """Decisions per generator update."""
    generator_first_updates: int = 2000
    """Generator updates when the warm-up ends."""
    scale_every: int = 2
    """Generator updates per update of the scale."""
    residual: Literal["auto", "diffusion", "gaussian", "deterministic"] = "auto"
    """Law of the standardised residual. auto: diffusion where it forecasts held-out transitions better, else normal."""
    residual_calls: int = 2
    """Network calls per diffusion sample."""
    residual_every: int = 8
    """Generator updates per update of the residual field."""

    flow: Literal["resolvent", "one-step", "explicit", "pinn"] = "resolvent"
    """How the critic moves along the Hamiltonian flow dV/dtau = H(V)."""
    flow_step: float = 0.15
    """T rho: the flow's time step over the discount horizon 1/rho; an implicit step divides the error by 1 + T rho."""
    rollout_steps: int = 20
    """Decisions of one distribution rollout."""
    rollout_batch: int = 260
    """Trajectories of one distribution rollout."""
    rollout_every: int = 20
    """Critic updates per distribution rollout."""
    rollout_kept: int = 10
    """Rollouts whose states the policy is improved on."""
    antithetic: bool = False
    """Rollouts in pairs with opposite noise."""
    critic: Literal["advantage", "q"] = "q"
    """advantage: Q = V + dt (A - A(pi)), which keeps its meaning as dt goes to 0. q: one network Q(s, a),
    which learned faster on half-cheetah at its own dt."""
    critics: int = 4
    critics_in_target: int = 2
    """Members whose minimum is the target, drawn anew each time."""
    critic_lr: float = 1e-3
    critic_rate: float = 0.02
    """Polyak rate of the target critics, per update."""
    real_batch: int = 32
    """Real transitions in a critic batch, as one-step anchors."""

    policy_steps: int = 4
    """Generator steps K of the pathwise gradient; 1 is the argmax of the Hamiltonian."""
    policy_every: int = 1
    """Critic updates per policy update."""
    policy_lr: float = 1e-3
    policy_first_updates: int = 500
    """Critic updates when the warm-up ends."""
    policy_average: float = 0.01
    """Averaging rate, per policy update, of the weights that act deterministically."""
    temperature_lr: float = 3e-3
    """Faster than the policy: a temperature too high for long drowns the reward."""
    entropy: float = -0.33
    """Target entropy per action dimension, in nats of actions in [-1, 1]."""
    temperature: float = 0.01
    """First price of a nat per decision, over the range of rewards per decision."""
    gradient_norm: float = 1e3
    """Policy gradients above this norm are scaled down."""

    smoothness: Literal["off", "rate", "rate+champ"] = "rate"
    """Penalise the policy's rate along the generator, or that and its carre du champ."""
    action_rate: float = 0.75
    """Target root mean square rate of the actions per dimension, over the rate at which the states change. That is 1 to
    20 per s on the tasks here: what smooths a pendulum would keep a robot from moving."""
    smoothness_max: float = 0.1
    """First and highest weight of the penalty, in reward ranges: a young generator is wrong about actions that flip at
    every decision, which random ones hardly show it, and a policy finds that out."""

    look_every: int = 1000
    """Decisions between two looks at the data's ranges."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if needed := _needed(name, kind, value):
                raise UserError(f"{name} is {value!r}; {needed}")
        if self.critics_in_target > self.critics:
            raise UserError(f"critics_in_target is {self.critics_in_target}; at most critics, {self.critics}")
        if self.generator_members < 2:
            raise UserError(f"generator_members is {self.generator_members}; at least 2, each holds out a fold")


def _needed(name: str, kind: Any, value: Any) -> str | None:
    """What a setting of this type must be and ``value`` is not, or None."""
    if allowed := get_args(kind):
        return None if value in allowed else f"allowed: {', '.join(allowed)}"
    if kind is bool:
        return None if isinstance(value, bool) else "true or false is needed"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "a finite number is needed"
    if kind is int:
        least = int(name in ZERO_FREE)
        return None if isinstance(value, int) and value >= least else f"a whole number of at least {least} is needed"
    if value <= 0 and name not in ANY_SIGN:
        return "a number above 0 is needed"
    return "a rate of at most 1 is needed" if value > 1 and name in RATES else None


ANY_SIGN = {"entropy"}
"""Numbers that need not be above 0."""
RATES = {"critic_rate", "policy_average"}
"""Shares of a difference, which at more than 1 would overshoot."""
ZERO_FREE = {
    "short_episode",
    "scale_every",
    "width",
    "batch",
    "generator_batch",
    "generator_every",
    "residual_every",
    "rollout_steps",
    "rollout_batch",
    "rollout_every",
    "rollout_kept",
    "critics",
    "critics_in_target",
    "policy_steps",
    "policy_every",
    "look_every",
}
"""Whole numbers that must be at least 1."""
