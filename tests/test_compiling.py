"""Fused kernels compute what the code says."""

from __future__ import annotations

import pytest
import torch

from hjbbench.compiling import can_compile
from hjbbench.hjb.config import HJBConfig
from hjbbench.hjb.networks import Standardiser
from hjbbench.hjb.value import Critic

CPU = torch.device("cpu")


def test_compiling_needs_a_compiler_and_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not can_compile(CPU)
    monkeypatch.setenv("CXX", "python3")
    assert can_compile(CPU)
    assert not can_compile(torch.device("cuda"))


@pytest.mark.skipif(not can_compile(CPU), reason="no C++ compiler was found")
def test_compiled_errors_and_their_gradients_are_the_plain_ones() -> None:
    rng = torch.Generator().manual_seed(0)
    critic = Critic(3, 2, 0.99, Standardiser(3, CPU), HJBConfig(width=16), rng)
    sizes = ((20, 3), (20, 2), (20,), (8, 3), (8, 2), (8, 2), (8,))
    data = [torch.randn(size, generator=rng) for size in sizes]
    for net in critic.nets.values():
        net.weights[-1].data.normal_(generator=rng)
    weights = [p for net in critic.nets.values() for p in net.parameters()]

    def look() -> list[torch.Tensor]:
        errors = critic.errors(*data)
        return [errors, *torch.autograd.grad(errors.square().mean(), weights)]

    plain = look()
    critic.compile()
    for fused, expected in zip(look(), plain, strict=True):
        torch.testing.assert_close(fused, expected, rtol=1e-4, atol=1e-5)
