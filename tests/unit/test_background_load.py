"""The latency of a background load in a span, read from pgbench's own log."""

from pathlib import Path

import pytest

from pgdrill.drills.background_load import ShopLoad

pytestmark = pytest.mark.unit


def log(directory: Path, *latencies: str) -> None:
    """Write transactions that end at Unix seconds 1001, 1002, ...; latency in microseconds."""
    lines = (f"0 {n} {one} 0 {1001 + n} 0 0\n" for n, one in enumerate(latencies))
    (directory / "pgbench_log.7").write_text("".join(lines))


def test_transactions_count_where_they_were_due(tmp_path: Path) -> None:
    """A transaction due before the span and answered in it does not count."""
    load = ShopLoad(tmp_path, offset=1000.0)
    log(tmp_path, "5000", "30000", "1500000", "9000")
    assert load.p99_ms((1.9, 2.0)) == 30.0
    assert load.p99_ms((1.2, 1.8)) == 1500.0
    assert load.p99_ms((2.5, 9.0)) == 9.0


def test_what_got_no_answer_took_for_ever(tmp_path: Path) -> None:
    """A skipped or failed transaction among less than a hundred is more than one in a hundred."""
    load = ShopLoad(tmp_path, offset=1000.0)
    log(tmp_path, "5000", "skipped", "7000")
    assert load.p99_ms((0.0, 9.0)) == float("inf")


def test_no_load_has_no_latency(tmp_path: Path) -> None:
    """Neither a missing log nor an empty span is a latency of zero."""
    load = ShopLoad(tmp_path, offset=1000.0)
    assert load.p99_ms((0.0, 9.0)) is None
    log(tmp_path, "5000")
    assert load.p99_ms((7.0, 9.0)) is None
