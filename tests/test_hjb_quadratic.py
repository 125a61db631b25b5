"""A quadratic cost is found where there is one, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from hjbbench.hjb.quadratic import QuadraticForm

CPU = torch.device("cpu")


def inputs(n: int, size: int = 4) -> torch.Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(0))


def cost(x: torch.Tensor) -> torch.Tensor:
    return 1.5 + x[:, 1] - x[:, 0] ** 2 - 0.3 * x[:, 2] * x[:, 3]


def test_a_quadratic_cost_is_exact_after_a_few_hundred_transitions() -> None:
    form, x = QuadraticForm(4, CPU), inputs(300)
    form.learn(x, cost(x))
    assert form.trusted
    torch.testing.assert_close(form(x), cost(x), rtol=1e-3, atol=1e-3)
    far = 0.5 * torch.ones(1, 4)
    assert form(far).item() == pytest.approx(cost(far).item(), abs=1e-3)


def test_no_form_is_adopted_where_it_is_wrong() -> None:
    form, x = QuadraticForm(4, CPU), inputs(300)
    form.learn(x, torch.sin(3 * x[:, 0]))
    assert not form.trusted
    assert (form(x) == 0).all()


def test_a_form_stays_when_new_data_contradict_it_and_values_stay_near_the_data() -> None:
    form, x = QuadraticForm(4, CPU), inputs(300)
    form.learn(x, cost(x))
    before = form(x)
    form.learn(x, torch.sin(3 * x[:, 0]))
    assert torch.equal(form(x), before)
    assert form(1e3 * torch.ones(1, 4)).item() >= 1.2 * cost(x).min().item() - 0.2 * cost(x).max().item() - 1e-3


def test_too_few_rows_or_too_many_inputs_leave_it_alone() -> None:
    for n, size in ((20, 4), (3000, 50)):
        form, x = QuadraticForm(size, CPU), inputs(n, size)
        form.learn(x, cost(x))
        assert not form.trusted


def test_a_constant_is_a_form_too() -> None:
    form, x = QuadraticForm(4, CPU), inputs(300)
    form.learn(x, -0.995 + 1e-7 * x[:, 0])
    assert form.constant
    torch.testing.assert_close(form(x), torch.full((300,), -0.995), rtol=1e-5, atol=0)
    form.learn(x, cost(x))
    assert not form.constant


def test_state_is_restored() -> None:
    form, other, x = QuadraticForm(4, CPU), QuadraticForm(4, CPU), inputs(300)
    form.learn(x, cost(x))
    other.load_state_dict(form.state_dict())
    assert other.trusted
    assert torch.equal(form(x), other(x))
