"""Adam as tensor operations steps as torch's own does."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from hjbbench.adam import Adam


@pytest.mark.parametrize(
    ("weight_decay", "reference"),
    [(0.0, torch.optim.Adam), (0.3, partial(torch.optim.AdamW, weight_decay=0.3))],
    ids=["adam", "adamw"],
)
def test_steps_are_torchs(weight_decay, reference):
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    mine, other = Adam([ours], 1e-2, weight_decay), reference([theirs], lr=1e-2)
    for scale in (1.0, 1e-3, 10.0, 1e-8):
        gradient = scale * torch.randn(5)
        mine.step([gradient])
        theirs.grad = gradient
        other.step()
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-6)
    again = Adam([ours], 1e-2, weight_decay)
    again.load_state_dict(mine.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.second, mine.second, strict=True))
    assert (again.count, again.size, again.scale) == (5, mine.size, mine.scale)
