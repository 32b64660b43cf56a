"""The share of changes that the unit tests noticed, and a reason for each other change."""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LEAST = 0.9  # of all changes, to be noticed
REASONS = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True, order=True)
class Change:
    """One changed thing of one function: the lines that went, and those that came."""

    of: str  # module and function
    went: str
    came: str

    @classmethod
    def read(cls, of: str, diff: str) -> "Change":
        """Return the change that a unified diff shows."""
        lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
        went, came = (
            " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
        )
        return cls(of, went, came)

    def __str__(self) -> str:
        return f"{self.of}: {self.went} -> {self.came}"


def reasons(text: str) -> dict[Change, str]:
    """Read why changes may go unnoticed.

    Raises:
        ValueError: it is not written so, or a change has no reason, or two.
    """
    found: dict[Change, str] = {}
    for one in tomllib.loads(text).get("survivor", []):
        if one.keys() != {"of", "went", "came", "why"} or not one["why"].strip():
            raise ValueError(f"a survivor needs of, went, came and why: {one}")
        change = Change(one["of"], one["went"], one["came"])
        if change in found:
            raise ValueError(f"named twice: {change}")
        found[change] = one["why"]
    return found


def table(statuses: Mapping[str, Sequence[bool]]) -> list[str]:
    """Return the score of each module, and of all; statuses: whether each change was noticed."""
    every = [noticed for found in statuses.values() for noticed in found]
    rows = [*sorted(statuses.items()), ("all", every)]
    width = max(len(name) for name, _ in rows)
    return [
        f"{name:{width}}  {sum(found):5} of {len(found):5} noticed  {share(found):6.1%}"
        for name, found in rows
    ]


def share(found: Sequence[bool]) -> float:
    """Return the noticed share; 0 where there is no change."""
    return sum(found) / len(found) if found else 0.0


def complaints(
    statuses: Mapping[str, Sequence[bool]], survivors: Sequence[Change], why: Mapping[Change, str]
) -> list[str]:
    """Return what is wrong: too few noticed, survivors without a reason, and stale reasons."""
    every = [noticed for found in statuses.values() for noticed in found]
    found = []
    if share(every) < LEAST:
        found.append(
            f"{share(every):.1%} of {len(every)} changes were noticed, {LEAST:.0%} must be"
        )
    unexcused = Counter(one for one in survivors if one not in why)
    found += [f"no test notices, and no reason is given: {one}" for one in sorted(unexcused)]
    stale = sorted(set(why) - set(survivors))
    return found + [f"stale reason, the change is noticed or gone: {one}" for one in stale]
