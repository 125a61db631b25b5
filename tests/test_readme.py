"""README states what the committed evidence says, and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLAIMS = json.loads((ROOT / "results/standard/report/claims.json").read_text(encoding="utf-8"))
WORDS = [
    "none",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]


def shown(claim: dict) -> str:
    """A claim's estimate as README writes it: errors and shares in percent, ratios plain."""
    if claim["name"] in ("value-is-the-viscosity-solution", "robust-to-the-control-interval"):
        return f"{100 * claim['estimate']:.1f} %"
    return f"{claim['estimate']:.2f}"


def test_the_table_of_claims_is_that_of_the_report() -> None:
    rows = re.findall(r"^\| .+ \| at (?:least|most) [^|]+ \| ([\d.]+(?: %)?)[^|]* \| \**(\w+)[^|]* \|$", README, re.M)
    assert sorted(rows) == sorted((shown(c), c["verdict"]) for c in CLAIMS if c["estimate"] is not None)


def test_the_verdicts_are_counted_right() -> None:
    sentence = re.search(r"(\w+) of\s+(\d+) claims hold, (\w+) (?:is|are) refuted, (\w+) (?:is|are) undecided", README)
    assert sentence is not None
    holds, total, refuted, undecided = sentence.groups()
    found = Counter(claim["verdict"] for claim in CLAIMS)
    assert int(total) == len(CLAIMS)
    assert [holds, refuted, undecided] == [WORDS[found[verdict]] for verdict in ("holds", "refuted", "undecided")]
