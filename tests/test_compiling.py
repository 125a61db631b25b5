"""Fused kernels compute what the code says."""

from __future__ import annotations

import pytest
import torch

from hjbbench.compiling import can_compile, compiled
from hjbbench.hjb.agent import DiffusionHJB
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.networks import Standardiser
from hjbbench.hjb.value import Critic
from tests.test_hjb_agent import SMALL, CountingClock, Point, task_of

CPU = torch.device("cpu")


def test_compiling_needs_a_compiler_and_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not can_compile(CPU)
    monkeypatch.setenv("CXX", "python3")
    assert can_compile(CPU)
    assert not can_compile(torch.device("cuda"))


@pytest.mark.skipif(not can_compile(CPU), reason="no C++ compiler was found")
def test_compiled_learning_is_plain_learning() -> None:
    sizes = ((20, 3), (20, 2), (20,), (8, 3), (8, 2), (8, 2), (8,))
    outcomes = []
    for fused in (False, True):
        rng = torch.Generator().manual_seed(0)
        critic = Critic(3, 2, 0.99, Standardiser(3, CPU), HJBConfig(width=16), rng)
        data = [torch.randn(size, generator=rng) for size in sizes]
        for net in critic.nets.values():
            net.weights[-1].data.normal_(generator=rng)
        learn = compiled(critic.learn) if fused else critic.learn
        losses = [learn(*data) for _ in range(3)]
        nets = (*critic.nets.values(), *critic.target_nets.values())
        outcomes.append([*losses, *(p.detach() for net in nets for p in net.parameters())])
    for plain, fused in zip(*outcomes, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not can_compile(CPU), reason="no C++ compiler was found")
def test_a_compiled_step_on_anchors_is_the_plain_one() -> None:
    outcomes = []
    for fused in (False, True):
        env = Point()
        env.reset(seed=0)
        agent = DiffusionHJB(task_of(), env, SMALL, 0)
        agent.learn(env, CountingClock(110))
        agent._descend = compiled(agent._step_critic) if fused else agent._step_critic
        losses = [agent._update_critic(torch.tensor(0.1)) for _ in range(3)]
        nets = (*agent.critic.nets.values(), *agent.critic.target_nets.values())
        outcomes.append([*losses, *(p.detach() for net in nets for p in net.parameters())])
    for plain, fused in zip(*outcomes, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
