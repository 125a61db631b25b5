"""A short torture; ``make torture`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import fuzz, kills


def test_kills_lose_nothing_and_change_nothing(tmp_path: Path) -> None:
    toll = kills.torture(tmp_path, n_kills=4, n_steps=120, agents="random,small-sac")
    assert toll.kills.total() >= 4
    assert toll.lost == 0
    assert toll.unreadable == []
    assert toll.suites >= 1
    assert toll.different == []


@pytest.mark.parametrize("attack", fuzz.ATTACKS)
def test_nonsense_is_one_line_of_error(attack: str, tmp_path: Path) -> None:
    fuzzed = fuzz.Fuzz(tmp_path)
    getattr(fuzzed, attack)(25)
    assert fuzzed.cases >= 25
