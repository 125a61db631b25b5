"""MBPO: the model finds the noise and its best networks, rollouts end where the task does, as the original."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from baselines.caps import Caps
from baselines.ensemble import LEAST_STEPS, PATIENCE, GaussianEnsemble
from baselines.mbpo import ORIGINAL, Original
from hjbbench.clock import RunClock
from hjbbench.environment import TrainingEnv
from hjbbench.registry import get_agent, get_task

SMALL = {"warmup_steps": 50, "rollouts": 200, "model_epochs_max": 2, "hidden": (32, 32)}


def build(name: str = "mbpo", task_name: str = "locomotion/hopper", seed: int = 1, budget: int = 60, **changes):
    task, entry = get_task(task_name), get_agent(name)
    env = TrainingEnv(task.make(), task.dt, seed, budget)
    agent = entry.factory(task, env, dataclasses.replace(entry.config, **(SMALL | changes)), seed)
    return agent, env, RunClock(budget, (), lambda c: None, lambda row: None, task.dt)


def test_ensemble_recovers_known_gaussian_noise():
    torch.manual_seed(0)
    x = 4 * torch.rand(2000, 1) - 2
    noise_std = torch.tensor([0.1, 0.4])
    truth = torch.cat([x, -x], dim=1)
    model = GaussianEnsemble(1, 2, members=3, elites=2, width=32, learning_rate=1e-2)
    metrics = model.fit(x, truth + noise_std * torch.randn_like(truth), max_epochs=60)
    drawn = model.sample(x.repeat(10, 1))
    residual = drawn - truth.repeat(10, 1)
    assert residual.mean(0).abs().max() < 0.05
    assert (residual.std(0) / noise_std - 1).abs().max() < 0.2
    assert metrics["model_error"] == pytest.approx(noise_std.square().mean().item(), rel=0.3)


def test_elites_are_the_best_on_held_out_data():
    torch.manual_seed(0)
    x = torch.randn(400, 2)
    model = GaussianEnsemble(2, 1, members=4, elites=2, width=16, learning_rate=1e-3)
    with torch.no_grad():
        model.net.layers[-1].bias[[0, 2]] += 50.0  # two networks that are far off
    model.fit(x, x[:, :1], max_epochs=1)
    assert sorted(model.elite.tolist()) == [1, 3]


def test_training_stops_without_improvement_and_continues_from_the_last_weights():
    torch.manual_seed(0)
    x = torch.randn(300, 1)
    y = torch.randn(300, 1)  # nothing to learn
    model = GaussianEnsemble(1, 1, members=2, elites=1, width=8, learning_rate=3e-3)
    looks = model.fit(x, y)["model_epochs"] / LEAST_STEPS  # 240 transitions are one batch, so an epoch is a step
    assert PATIENCE + 1 <= looks < 4 * PATIENCE
    assert 400 <= model.fit(x, y, least_steps=400)["model_epochs"] < 600
    before = [parameter.clone() for parameter in model.parameters()]
    assert model.fit(x, y, max_epochs=0)["model_epochs"] == 0
    assert all(map(torch.equal, model.parameters(), before))


def test_fused_training_is_the_plain_one(as_one_graph):
    torch.manual_seed(0)
    x, y = torch.randn(700, 2), torch.randn(700, 1)
    plain, fused = (GaussianEnsemble(2, 1, members=3, elites=2, width=8, learning_rate=1e-3) for _ in range(2))
    fused.load_state_dict(plain.state_dict())
    fused.fuse()
    before = [parameter.clone() for parameter in plain.parameters()]
    for model in (plain, fused):
        torch.manual_seed(1)
        model.fit(x, y, max_epochs=2)
    assert len(as_one_graph) == 1
    for mine, other, start in zip(fused.parameters(), plain.parameters(), before, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)
        assert not torch.equal(other, start)


def test_weights_decay_by_layer():
    """Where the loss does not depend on a weight, Adam's first step is the learning rate towards zero."""
    model = GaussianEnsemble(2, 1, members=2, elites=1, width=8, learning_rate=1e-2)
    with torch.no_grad():
        for layer in model.net.layers:
            layer.weight.zero_()
        model.net.layers[0].weight.fill_(2.0)
    model._gradient_step(torch.randn(2, 16, 2), torch.randn(2, 16, 1))
    decayed = model.net.layers[0].weight
    torch.testing.assert_close(decayed, torch.full_like(decayed, 1.99), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize(("epoch", "length"), [(0, 1), (20, 1), (29, 1), (30, 2), (85, 8), (150, 15), (400, 15)])
def test_hopper_rollouts_grow_linearly_and_are_cut_to_whole_steps(epoch, length):
    agent, *_ = build()
    assert agent.rollout_length(epoch) == length


def test_settings_are_the_originals_for_its_robots_and_documented_for_others():
    assert build(task_name="locomotion/half-cheetah")[0].updates_per_step == 40
    assert build(task_name="locomotion/inverted-pendulum")[0].updates_per_step == 10
    assert build(task_name="locomotion/inverted-pendulum")[0].learner.config.target_entropy == -0.05
    assert build("mbpo-lite", "locomotion/half-cheetah")[0].updates_per_step == 5
    warmups = [
        build(task_name=f"locomotion/{name}", warmup_steps=None)[0].warmup_steps
        for name in ("hopper", "inverted-pendulum")
    ]
    assert warmups == [1000, 500]
    gusty = build(task_name="locomotion/hopper-gusty", warmup_steps=None)[0]
    assert gusty.original == ORIGINAL["hopper"]
    pendulum, *_ = build(task_name="control/pendulum")
    assert pendulum.original == Original()
    assert (pendulum.updates_per_step, pendulum.learner.config.target_entropy) == (20, -0.5)
    assert all(get_task(f"locomotion/{robot}") for robot in ORIGINAL)


def test_rollouts_stop_at_known_terminations():
    agent, *_ = build()
    standing = torch.zeros(11)
    standing[0] = 1.2
    for row in torch.stack([standing] * 20).numpy():
        agent.replay.append(row, np.zeros(3), row, 1.0, False)
    calls = []

    def sample(x):
        calls.append(len(x))
        outcome = torch.zeros(len(x), 12)
        outcome[: len(x) // 2, 1] = -1.0  # half of the states fall
        return outcome

    agent.model.sample = sample
    agent._imagine(length=3)
    assert calls == [200, 100, 50]
    imagined = agent.imagined.all
    assert len(imagined.obs) == 350
    assert (imagined.obs[:, 0] > 0.7).all()  # nothing follows a fall
    torch.testing.assert_close(imagined.terminated, (imagined.next_obs[:, 0] < 0.7).float())


def test_updates_are_counted_and_seeds_reproduce():
    states = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    actions, counts = [], []
    for seed in (1, 1, 2):
        agent, env, clock = build(task_name="locomotion/inverted-pendulum", seed=seed, updates_per_step=3)
        agent.learn(env, clock)
        actions.append(agent.act(states))
        counts.append(clock.n_updates)
    assert counts == [33, 33, 33]  # three after each decision from the 50th on
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


def test_batches_mix_real_and_imagined_transitions():
    agent, env, clock = build(task_name="locomotion/inverted-pendulum", updates_per_step=2)
    agent.learn(env, clock)
    agent.replay.rows[: agent.replay.size, -3] = 7.0  # the reward column
    agent.imagined.rows[: agent.imagined.size, -3] = -7.0
    seen = []
    agent.learner.update = lambda batch: seen.append(batch.reward)
    agent._train(clock)
    assert [(reward == 7.0).sum().item() for reward in seen] == [12, 12]
    assert {len(reward) for reward in seen} == {256}


def test_caps_reaches_the_policy_loss():
    assert build("mbpo-caps")[0].learner.penalty == Caps(0.1, 0.5, 0.2)
    assert build("mbpo-caps", "control/pendulum", caps_spatial=2.0)[0].learner.penalty == Caps(1.0, 20.0, 0.2)
    assert build("mbpo")[0].learner.penalty is None
