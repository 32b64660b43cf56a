"""Results from a prober's attempts: gaps, percentiles, two writers, time to steady service."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pgdrill.attempt_log import Outcome, Rows, load
from pgdrill.records import LaneResult, Service
from pgdrill.workload.pgbench_log import percentile

Ints = NDArray[np.int64]
NS = 1_000_000_000
STAYS = 95  # % of attempts that stay in time after service was steady for a window


@dataclass(frozen=True)
class Second:
    """One second of one lane, counted by when attempts were due; starts at an instant."""

    lane: str
    at: float
    acks: int
    refused: int
    indeterminate: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Change:
    """A change of server, timeline or server start: its first ack, and the last ack before.

    Instants are seconds on the run's clock; before and after are a server's text and timeline.
    """

    before: tuple[str, int]
    after: tuple[str, int]
    last: float
    at: float


@dataclass(frozen=True)
class Attempts:
    """Every attempt of one prober, in the order in which they were due."""

    rows: Rows
    lanes: tuple[str, ...]
    direct: frozenset[str]  # lanes to one member: no client of the service uses them
    reasons: tuple[str, ...]
    servers: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> "Attempts":
        """Read the file that a prober wrote.

        Raises:
            ValueError: it is no such file.
        """
        rows, meta = load(path)
        return cls(
            rows[np.argsort(rows["due"], kind="stable")],
            tuple(lane["name"] for lane in meta["lanes"]),
            frozenset(lane["name"] for lane in meta["lanes"] if lane["direct"]),
            tuple(meta["reasons"]),
            tuple(meta["servers"]),
        )

    def of(self, outcome: Outcome) -> Rows:
        """Attempts of one outcome."""
        rows: Rows = self.rows[self.rows["outcome"] == outcome]
        return rows

    def lane_rows(self, lane: str) -> Rows:
        """Attempts of one lane.

        Raises:
            ValueError: there is no such lane.
        """
        rows: Rows = self.rows[self.rows["lane"] == self.lanes.index(lane)]
        return rows

    def lane_result(self, lane: str, around: tuple[float, float]) -> LaneResult:
        """Sum up a lane; the gap is sought between two instants, fault and end of the trial.

        Latencies are those of acknowledged attempts, from when they were due.
        """
        rows = self.lane_rows(lane)
        acked = rows[rows["outcome"] == Outcome.ACKED]
        fault, end = (int(instant * NS) for instant in around)
        gap = _gap(rows, np.sort(acked["ended"]), fault, end)
        others = rows["reason"][rows["outcome"] != Outcome.ACKED]
        return LaneResult(
            attempts=rows.size,
            acked=acked.size,
            refused=_count(rows, Outcome.REFUSED),
            indeterminate=_count(rows, Outcome.INDETERMINATE),
            gap=None if gap[0] is None or gap[1] is None else (gap[1] - gap[0]) / NS,
            last_ack_before=None if gap[0] is None else gap[0] / NS,
            first_ack_after=None if gap[1] is None else gap[1] / NS,
            p50_ms=_latency_ms(acked, 500),
            p99_ms=_latency_ms(acked, 990),
            errors=dict(Counter(self.reasons[reason] for reason in others)),
            silence=None if gap[0] is None or gap[1] else (_last(rows, end) - gap[0]) / NS,
        )

    def p99_ms(self, lane: str, within: tuple[float, float]) -> float | None:
        """99th percentile of a lane's acknowledged attempts that were due between two instants."""
        low, high = (int(instant * NS) for instant in within)
        acked = self.of(Outcome.ACKED)
        due = (acked["due"] >= low) & (acked["due"] < high)
        return _latency_ms(acked[due & (acked["lane"] == self.lanes.index(lane))], 990)

    def pauses(self, lane: str, longer: float) -> list[tuple[float, float]]:
        """Return the pauses between a lane's acks that took longer than so many seconds."""
        rows = self.lane_rows(lane)
        acks = np.sort(rows["ended"][rows["outcome"] == Outcome.ACKED])
        long = np.flatnonzero(np.diff(acks) > longer * NS)
        return [(int(acks[i]) / NS, int(acks[i + 1]) / NS) for i in long]

    def changes(self) -> list[Change]:
        """Return when each server but the first gave its first ack, in order.

        A server is an address, its start if that was read, and a timeline. Each is listed only
        once, also if two alternate.
        """
        acked = self.of(Outcome.ACKED)
        acked = acked[np.argsort(acked["ended"], kind="stable")]
        keys = acked["server"].astype(np.int64) << 32 | acked["timeline"]
        _, firsts = np.unique(keys, return_index=True)

        def who(row: np.void) -> tuple[str, int]:
            return self.servers[row["server"]], int(row["timeline"])

        return [
            Change(
                before=who(acked[place - 1]),
                after=who(acked[place]),
                last=int(acked["ended"][place - 1]) / NS,
                at=int(acked["ended"][place]) / NS,
            )
            for place in sorted(firsts)[1:]
        ]

    def two_writers(self) -> float:
        """Seconds in which one server acknowledged writes that were sent after another's first ack.

        For each two different servers, each on a timeline: from the later one's first ack to the
        *sending* of the earlier one's last acknowledged write. A write that was sent before may
        have been committed before, with a late answer (a frozen primary that continues), which
        proves nothing.
        """
        acked = self.of(Outcome.ACKED)
        keys = acked["server"].astype(np.int64) << 32 | acked["timeline"]
        by_server = {int(key): acked[keys == key] for key in np.unique(keys)}
        overlaps = [
            min(int(a["sent"].max()), int(b["sent"].max()))
            - max(int(a["ended"].min()), int(b["ended"].min()))
            for (one, a), (other, b) in combinations(by_server.items(), 2)
            if one >> 32 != other >> 32
        ]
        return max([0, *overlaps]) / NS

    def unseen_overlap(self) -> float | None:
        """Return the longest overlap, in seconds, that two_writers may not detect.

        Each member is written to at intervals: a detected overlap begins with an ack of the later
        one and ends with a write to the earlier one. None: no direct lane had an ack.
        """
        began = [np.sort(self.lane_rows(lane)["started"]) for lane in self.direct]
        interval = max((int(np.diff(at).max()) for at in began if at.size > 1), default=None)
        acked = self.of(Outcome.ACKED)
        acked = acked[self._is_direct(acked)]
        answer = percentile(np.sort(acked["ended"] - acked["started"]), 0, 990)
        return None if interval is None or answer is None else (2 * interval + answer) / NS

    def steady_after(self, injected_at: float, limit_ms: float, window: float) -> float | None:
        """Seconds after a fault until service is inside its limit again, and stays there.

        That is the first attempt due after the fault, itself in time, from which on at least 99 %
        of the attempts due in the next `window` seconds, over all lanes but direct ones, were
        acknowledged within limit_ms of being due: p99, with failures as slower than all others. So
        were at least STAYS per cent of all that came after it: an outage that begins late, or
        recurs, counts until its end. None: not seen, or not watched long enough.
        """
        rows, bad = self._clients(limit_ms)
        if not rows.size:
            return None
        due = rows["due"]
        bad_before = np.concatenate(([0], np.cumsum(bad)))
        first = np.arange(due.size)
        behind = np.searchsorted(due, due + int(window * NS))
        steady = (bad_before[behind] - bad_before[first]) * 100 <= behind - first
        stays = (bad_before[-1] - bad_before[first]) * 100 <= (100 - STAYS) * (due.size - first)
        watched = due + int(window * NS) <= due[-1]
        after = due >= int(injected_at * NS)
        candidates = np.flatnonzero(steady & stays & watched & ~bad & after)
        return float(due[candidates[0]] / NS - injected_at) if candidates.size else None

    def service(self, injected_at: float, limit_ms: float, window: float) -> Service:
        """Return the share of attempts in time in each whole second after a fault."""
        rows, bad = self._clients(limit_ms)
        fault = int(injected_at * NS)
        number = (rows["due"] - fault) // NS
        whole = max(0, (int(rows["due"][-1]) - fault) // NS) if rows.size else 0
        within = (number >= 0) & (number < whole)
        due = np.bincount(number[within], minlength=whole)
        good = np.bincount(number[within & ~bad], minlength=whole)
        shares = tuple(100 * int(g) / int(d) if d else None for g, d in zip(good, due, strict=True))
        return Service(limit_ms=limit_ms, window=window, shares=shares)

    def _is_direct(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which attempts belong to direct lanes."""
        direct = [place for place, lane in enumerate(self.lanes) if lane in self.direct]
        return np.isin(rows["lane"], direct)

    def _clients(self, limit_ms: float) -> tuple[Rows, NDArray[np.bool_]]:
        """Return the attempts of all lanes but direct ones, and which were not in time."""
        rows: Rows = self.rows[~self._is_direct(self.rows)]
        late = rows["ended"] - rows["due"] > limit_ms * 1e6
        return rows, (rows["outcome"] != Outcome.ACKED) | late

    def schedule_error_p99_ms(self) -> float:
        """Delay of the prober itself: from due to begun, in ms, 99th percentile of all lanes.

        Raises:
            ValueError: there are no attempts.
        """
        late = percentile(np.sort(self.rows["started"] - self.rows["due"]), 0, 990)
        if late is None:
            raise ValueError("no attempts: the prober has no schedule error")
        return late / 1e6

    def per_second(self) -> list[Second]:
        """Return every second of every lane, as far as it has attempts."""
        seconds: list[Second] = []
        if not self.rows.size:
            return seconds
        start = int(self.rows["due"][0])
        for lane in self.lanes:
            rows = self.lane_rows(lane)
            number = (rows["due"] - start) // NS
            for second in np.unique(number):
                within = rows[number == second]
                acked = within[within["outcome"] == Outcome.ACKED]
                seconds.append(
                    Second(
                        lane,
                        (start + int(second) * NS) / NS,
                        acked.size,
                        _count(within, Outcome.REFUSED),
                        _count(within, Outcome.INDETERMINATE),
                        _latency_ms(acked, 500),
                        _latency_ms(acked, 990),
                    )
                )
        return seconds


def _gap(rows: Rows, acks: Ints, fault: int, end: int) -> tuple[int | None, int | None]:
    """Return the longest pause between acks that touches [fault, end]; None: an ack is missing."""
    earlier = acks[acks <= fault]
    if not earlier.size:
        return None, None
    silence = _last(rows, end) - int(acks[-1])
    touching = np.flatnonzero((acks[1:] > fault) & (acks[:-1] < end))
    pauses = acks[touching + 1] - acks[touching]
    if not pauses.size or silence > pauses.max():
        return int(acks[-1]), None
    longest = touching[pauses.argmax()]
    return int(acks[longest]), int(acks[longest + 1])


def _last(rows: Rows, end: int) -> int:
    """Return the instant until which silence counts: that of the last attempt, end at most."""
    return min(end, int(rows["ended"].max()))


def _count(rows: Rows, outcome: Outcome) -> int:
    return int(np.count_nonzero(rows["outcome"] == outcome))


def _latency_ms(acked: Rows, per_mille: int) -> float | None:
    latency = percentile(np.sort(acked["ended"] - acked["due"]), 0, per_mille)
    return None if latency is None else latency / 1e6
