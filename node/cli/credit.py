"""What can a newcomer try private sessions with? Two made-up banks that know different things of the same people.

The people are drawn from a fixed seed: whether somebody fails to pay back depends on columns of both banks, so that a model of
both together is better than that of either. No real person is in it.
"""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path
from typing import Final

PEOPLE: Final = 4000
SEED: Final = 2009
SHARE: Final = 0.94  # of the people that each bank knows
A_COLUMNS: Final = ("limit_bal", "age", "pay_0", "pay_2", "bill_amt1", "pay_amt1")
B_COLUMNS: Final = ("income", "other_debt", "years_employed", "late_rent", "bad")
A_FILE: Final = "credit_a.csv"
B_FILE: Final = "credit_b.csv"


def write_banks(folder_a: Path, folder_b: Path) -> None:
    """Writes bank A's file (features) and bank B's (features and the label `bad`), each in an order of its own."""
    chance = random.Random(SEED)  # noqa: S311 # nosec B311 - made-up people, no secret
    people = [_person(chance) for _ in range(PEOPLE)]
    for folder, name, columns, part in ((folder_a, A_FILE, A_COLUMNS, 0), (folder_b, B_FILE, B_COLUMNS, 1)):
        known = chance.sample(range(PEOPLE), round(PEOPLE * SHARE))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("id", *columns))
            writer.writerows((f"customer-{person:05d}", *people[person][part]) for person in known)


def _person(chance: random.Random) -> tuple[tuple[float, ...], tuple[float, ...]]:
    means, spread = chance.gauss(0, 1), chance.gauss(0, 1)
    limit = round(math.exp(11.5 + 0.6 * means), -3)
    late = [max(-1, round(chance.gauss(-0.3 - 0.5 * means, 1))) for _ in range(2)]
    bill = round(limit * min(1.0, max(0.0, chance.gauss(0.4, 0.3))))
    paid = round(bill * chance.random() * 0.3)
    age = chance.randint(21, 74)
    income = round(math.exp(10.2 + 0.5 * spread))
    debt = round(math.exp(9 + 0.7 * chance.gauss(0, 1)))
    years = max(0, round(chance.gauss(6 + 2 * spread, 4)))
    rent = max(0, round(chance.gauss(0.4 - 0.5 * spread, 0.8)))
    risk = -1.9 + 0.8 * late[0] + 0.4 * late[1] - 0.5 * means + 0.7 * rent - 0.7 * spread + 0.00002 * debt
    bad = int(chance.random() < 1 / (1 + math.exp(-risk)))
    return (limit, age, *late, bill, paid), (income, debt, years, rent, bad)
