"""Which member of the ensemble may learn from which transition.

Blocks of consecutive transitions go round-robin to the folds; member e never learns from fold e, so every transition
is held out for exactly one member. Blocks, not single transitions: neighbours in time are nearly copies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 10
"""Transitions per block; windows for multi-step errors must fit in."""
RECENT = 1000
"""A share of each training batch comes from this many newest transitions, where the policy is now."""
RECENT_SHARE = 0.25


class Folds:
    """Draws indices into the first ``size`` transitions; those of an incomplete round of blocks wait."""

    def __init__(self, members: int) -> None:
        self.members = members

    def rounds(self, size: int) -> int:
        return size // (BLOCK * self.members)

    def training(self, size: int, n: int, rng: torch.Generator) -> Tensor:
        """Indices (members, n), row e avoiding fold e."""
        others, rounds = BLOCK * (self.members - 1), self.rounds(size)
        first_recent = max(0, rounds - RECENT // (BLOCK * self.members)) * others
        k = int(n * RECENT_SHARE)
        draw = torch.cat(
            [
                torch.randint(first_recent, rounds * others, (self.members, k), generator=rng, device=rng.device),
                torch.randint(0, rounds * others, (self.members, n - k), generator=rng, device=rng.device),
            ],
            1,
        )
        offset, block = draw % BLOCK, draw // BLOCK
        own = torch.arange(self.members, device=rng.device)[:, None]
        fold = (own + 1 + block % (self.members - 1)) % self.members
        return (block // (self.members - 1) * self.members + fold) * BLOCK + offset

    def held_out(self, size: int, n: int, rng: torch.Generator, window: int = 1) -> Tensor:
        """Indices (members, n) within fold e, each the first of ``window`` transitions of one block."""
        shape = (self.members, n)
        rounds = torch.randint(0, self.rounds(size), shape, generator=rng, device=rng.device)
        offset = torch.randint(0, BLOCK - window + 1, shape, generator=rng, device=rng.device)
        own = torch.arange(self.members, device=rng.device)[:, None]
        return (rounds * self.members + own) * BLOCK + offset

    def of(self, size: int, device: torch.device) -> torch.Tensor:
        """The fold of every transition of the complete rounds, (rounds * members * BLOCK,)."""
        return torch.arange(self.rounds(size) * self.members * BLOCK, device=device) // BLOCK % self.members

    def held_out_once(self, size: int, most: int, device: torch.device) -> torch.Tensor:
        """Indices (members, n), row e within fold e, none twice: of all rounds, or every k-th for about ``most``."""
        stride = math.ceil(size / most)
        rounds = torch.arange(0, self.rounds(size), stride, device=device)[:, None]
        own = torch.arange(self.members, device=device)[:, None, None]
        return ((rounds * self.members + own) * BLOCK + torch.arange(BLOCK, device=device)).flatten(1)
