"""A time-out ends with the line of a log that explains it."""

from pathlib import Path

from pgdrill.platforms.local.logs import LINE, last_complaint


def test_the_last_complaint_is_found_among_what_goes_on(tmp_path: Path) -> None:
    """Lines that only wait for others do not hide it; a log without one gives its last line."""
    log = tmp_path / "patroni-pg1.log"
    log.write_text(
        "2026-11-27 INFO: No PostgreSQL configuration items changed\n"
        'could not access file "/x/bootstrap.sh": Permission denied\n'
        "2026-11-27 INFO: Lock owner: None; I am pg1; failed to acquire it\n"
        "2026-11-27 INFO: waiting for leader to bootstrap\n\n"
    )
    assert last_complaint(log).endswith("Permission denied")
    log.write_text("starting\nready\n")
    assert last_complaint(log) == "ready"


def test_a_log_that_is_not_there_or_endless_is_no_trouble(tmp_path: Path) -> None:
    """No log gives no text, nor does an empty one; a long line is cut."""
    assert last_complaint(tmp_path / "absent.log") == ""
    log = tmp_path / "empty.log"
    log.touch()
    assert last_complaint(log) == ""
    log.write_bytes(b"x" * 300_000 + b"\n" + b"ERROR: \xff " + b"y" * 1000)
    assert last_complaint(log).startswith("ERROR:")
    assert len(last_complaint(log)) == LINE
