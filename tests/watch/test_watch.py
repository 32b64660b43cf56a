"""A database that is watched while it is broken: the records show what was done."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL

from pgdrill.records import Verdict, read_lines
from pgdrill.settings import ROOT
from pgdrill.waiting import eventually, pause
from pgdrill.workload import ledger
from pgdrill.workload.user_database import LEDGER
from tests.badinput.commands import Installation
from tests.unit.conftest import ScratchPostgres
from tests.watch.conftest import Way, in_process_list, schemas, table, watching


def test_a_restart_is_a_gap_and_a_restart_and_no_loss(
    server: ScratchPostgres, installation: Installation
) -> None:
    """A server that is stopped and started again: seen once, its cost known, all rows there."""
    with watching(installation, server.conninfo) as seen:
        pause(1.5)
        server.stop()
        pause(1.0)
        server.start()
        seen.wait_for("restart of 127.0.0.1")
        pause(1.0)
        outcome = seen.end()
    outcome.succeeds()
    found = seen.record()
    (one,) = found.handovers
    assert (one.kind, one.lost) == ("restart", 0)
    assert one.before.since < one.after.since
    for lane, gap in one.gaps.items():
        assert gap is not None
        assert gap > 1.0
        assert found.lanes[lane].gap == gap
    assert found.ledger is not None
    assert found.ledger.acked > 50
    assert found.ledger.acked_lost == 0
    assert found.reason == "Ctrl-C"
    assert schemas(server.conninfo) == []
    page = seen.run.report.read_text()
    assert "Restart of 127.0.0.1" in page
    seen.run.report.unlink()
    installation.pgdrill("report", str(seen.run.path)).succeeds()
    anew = re.compile(r'<p class="anew">Judged again on [^<]*: 1 of 1 verdict.</p>\n')
    assert anew.sub("", seen.run.report.read_text()) == page


def test_a_promoted_standby_is_a_failover_to_another_timeline(
    server: ScratchPostgres, installation: Installation
) -> None:
    """The way leads to a promoted standby: what it had not received is lost by that failover.

    Reads through an address of their own are a second behind, as the standby is made to be.
    """
    standby = server.standby()
    try:
        with Way(server.port).open() as way, Way(server.port).open() as stream:
            origin = f"host=127.0.0.1 port={stream.port} user=postgres"
            with psycopg.connect(standby.conninfo, autocommit=True) as connection:
                connection.execute(f"ALTER SYSTEM SET primary_conninfo = '{origin}'")
                connection.execute("ALTER SYSTEM SET recovery_min_apply_delay = '1s'")
                connection.execute("SELECT pg_reload_conf()")
            dsn = make_conninfo(server.conninfo, port=str(way.port))
            words = (dsn, "--read-only", standby.conninfo)
            with watching(installation, *words) as seen:
                pause(3.0)
                # Nothing reaches it from now on, and what is acknowledged meanwhile is lost.
                stream.lead_to(1)
                pause(1.0)
                way.lead_to(standby.port)
                standby.run("pg_ctl", "promote", "-w", "-D", standby.data)
                seen.wait_for("failover from")
                pause(1.0)
                outcome = seen.end(signal.SIGTERM)
        found = seen.record()
        assert schemas(standby.conninfo) == []
    finally:
        standby.discard()
    (one,) = found.handovers
    assert one.kind == "failover"
    assert one.before.address == f"127.0.0.1:{server.port}"
    assert one.after.address == f"127.0.0.1:{standby.port}"
    assert (one.before.timeline, one.after.timeline) == (1, 2)
    assert outcome.code == 1
    assert found.ledger is not None
    assert found.ledger.acked_lost == one.lost
    assert one.lost is not None
    assert one.lost > 20  # of a second at 50/s
    assert found.lost_alone == 0
    assert found.reason == "SIGTERM"
    assert found.reads is not None
    assert found.reads.answered > 8
    assert found.reads.most_ms is not None
    assert found.reads.most_ms > 900
    assert any("standby" in event.what for event in seen.events())


def test_a_row_deleted_behind_its_back_is_lost_and_fails(
    kept: ScratchPostgres, installation: Installation
) -> None:
    """A lost acknowledged write: exit code 1, counted apart from any failover."""
    with watching(installation, kept.conninfo) as seen:
        pause(1.0)
        with psycopg.connect(kept.conninfo) as connection:
            query = SQL("DELETE FROM {0} WHERE id = (SELECT min(id) FROM {0})")
            gone = connection.execute(query.format(ledger.named(table(kept.conninfo)))).rowcount
        outcome = seen.end()
    assert gone == 1
    assert outcome.code == 1
    assert "acked-lost 1 (1 with no failover)" in outcome.output
    found = seen.record()
    assert found.ledger is not None
    assert (found.ledger.acked_lost, found.lost_alone, found.handovers) == (1, 1, ())
    assert schemas(kept.conninfo) == []


def test_a_ledger_that_somebody_else_wrote_into_proves_nothing(
    kept: ScratchPostgres, installation: Installation
) -> None:
    """A row of no attempt: reported, not judged, and so not kept."""
    with watching(installation, kept.conninfo) as seen:
        with psycopg.connect(kept.conninfo) as connection:
            name = ledger.named(table(kept.conninfo))
            connection.execute(SQL("INSERT INTO {} VALUES (-7, 'x')").format(name))
        outcome = seen.end()
    assert outcome.code == 1
    assert "Traceback" not in outcome.output
    assert "no attempt's: -7" in outcome.output
    assert schemas(kept.conninfo) == []


@pytest.mark.parametrize(("limit", "code"), [("0", 1), ("30", 0)])
def test_a_gap_is_judged_where_its_owner_sets_a_limit(
    kept: ScratchPostgres, installation: Installation, limit: str, code: int
) -> None:
    """Every gap is longer than the smallest limit; and the watch ends by itself."""
    words = (kept.conninfo, "--for=2s", f"--budget=watch.write-gap={limit}")
    with watching(installation, *words) as seen:
        assert seen.ended().code == code
    verdicts = list(read_lines(seen.run.file(Verdict), Verdict))
    judged = {v.about.lane: v.outcome for v in verdicts if v.budget.id == "watch.write-gap"}
    assert judged == dict.fromkeys(("fresh", "held"), "broken" if code else "met")


def test_an_outage_that_does_not_end_is_shown_and_the_schema_named(
    server: ScratchPostgres, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database does not answer at the end: nothing is proven, and the second Ctrl-C is obeyed.

    The next watch removes the schema once it has not been written to for an hour.
    """
    with watching(installation, server.conninfo) as seen:
        pause(1.0)
        server.stop("immediate")
        pause(1.0)
        seen.process.send_signal(signal.SIGINT)
        seen.wait_for("reading the ledger")
        outcome = seen.end()
    assert outcome.code == 130
    assert "Traceback" not in outcome.output
    server.start()
    (left,) = schemas(server.conninfo)
    assert f"schema {left} is left" in outcome.output
    said = installation.pgdrill("watch", server.conninfo, "--for=1s").succeeds()
    assert f"schema {left} is another watch's" in said.output
    with psycopg.connect(server.conninfo) as connection:
        aged = SQL("UPDATE {} SET at = at - interval '2 hours'")
        connection.execute(aged.format(ledger.named(f"{left}.{LEDGER}")))
        comment = SQL("COMMENT ON SCHEMA {} IS 'pgdrill watch since 1'")
        connection.execute(comment.format(ledger.named(left)))
    said = installation.pgdrill("watch", server.conninfo, "--for=1s").succeeds()
    assert f"removed schema {left}" in said.output
    assert schemas(server.conninfo) == []


def test_a_killed_watch_is_cleaned_up_on_demand(
    kept: ScratchPostgres, installation: Installation
) -> None:
    """SIGKILL leaves the schema: named, kept while it is young, removed by the command after."""
    with watching(installation, kept.conninfo) as seen:
        pause(0.5)
        seen.process.kill()
    (left,) = schemas(kept.conninfo)
    young = installation.pgdrill("watch", kept.conninfo, "--clean").succeeds()
    assert f"schema {left} is another watch's" in young.output
    with psycopg.connect(kept.conninfo) as connection:
        name = ledger.named(left)
        connection.execute(SQL("COMMENT ON SCHEMA {} IS 'pgdrill watch since 1'").format(name))
        connection.execute(SQL("DELETE FROM {}").format(ledger.named(f"{left}.{LEDGER}")))
    old = installation.pgdrill("watch", kept.conninfo, "--clean").succeeds()
    assert f"removed schema {left}" in old.output
    assert schemas(kept.conninfo) == []


def test_a_closed_terminal_ends_it_with_a_page(
    kept: ScratchPostgres, installation: Installation
) -> None:
    """SIGHUP, and the output has no reader: the page is written, the schema removed."""
    with watching(installation, kept.conninfo) as seen:
        assert seen.process.stdout is not None
        seen.wait_for("held 4")  # writes a second: without any, nothing is known
        seen.process.stdout.close()
        seen.process.send_signal(signal.SIGHUP)
        eventually("its end", lambda: seen.process.poll() is not None, within=30)
    # What it printed nobody has read: its verdicts show why it ended otherwise.
    assert seen.process.returncode == 0, seen.run.file(Verdict).read_text()
    assert seen.record().reason == "the terminal was closed"
    assert seen.run.report.is_file()
    assert schemas(kept.conninfo) == []


def test_a_mark_is_a_key_on_a_terminal(kept: ScratchPostgres, installation: Installation) -> None:
    """`m` notes an instant; the terminal is as before when the watch has ended."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "pgdrill", "watch", kept.conninfo]
    shell = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", shell, *command],
        env=installation.environment() | {"COLUMNS": "200"},
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        os.set_blocking(ours, False)
        said = ""

        def read() -> str:
            nonlocal said
            with suppress(OSError):  # nothing to read now, or ever again
                said += os.read(ours, 65536).decode(errors="replace")
            return said

        def wait_for(words: str) -> None:
            eventually(words, lambda: words in read(), within=120, every=0.05)

        def ended() -> bool:
            read()  # a terminal without a reader is full at some point
            return process.poll() is not None

        try:
            wait_for("m marks an instant")
            wait_for("held 4")
            os.write(ours, b"m")
            wait_for("mark 1")
            os.write(ours, b"\x03")
            eventually("its end", ended, within=60, every=0.05)
            assert process.returncode == 0
            assert "report.html" in read()
        finally:
            process.kill()
            os.close(ours)
    (run,) = installation.runs()
    assert '"mark 1"' in (run / "events.jsonl").read_text()
    assert "mark 1" in (run / "report.html").read_text()


def test_a_password_is_nowhere_but_in_the_dsn(
    kept: ScratchPostgres, installation: Installation
) -> None:
    """Not in the process list, nor in any file of the run, nor on the terminal."""
    secret = "geheim%20zwei"
    dsn = f"postgresql://postgres:{secret}@127.0.0.1:{kept.port}/postgres"
    with watching(installation, dsn, f"--read-only={dsn}") as seen:
        pause(0.5)
        assert not in_process_list("geheim")
        outcome = seen.end()
    outcome.succeeds()
    assert "geheim" not in outcome.output
    files = [file for file in seen.run.path.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if b"geheim" in file.read_bytes()]


def test_a_service_and_a_passfile_of_the_dsn_are_followed(
    server: ScratchPostgres, installation: Installation, tmp_path: Path
) -> None:
    """A DSN that names a service in the user's own file, and a password that only a file holds."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("CREATE ROLE app LOGIN PASSWORD 'geheim'")
        connection.execute("GRANT CREATE ON DATABASE postgres TO app")
    hba = server.data / "pg_hba.conf"
    hba.write_text("host all app all scram-sha-256\n" + hba.read_text())
    server.run("pg_ctl", "reload", "-D", server.data)
    (tmp_path / "pass").write_text("*:*:*:app:geheim\n")
    (tmp_path / "pass").chmod(0o600)
    (tmp_path / ".pg_service.conf").write_text(
        f"[mine]\nhost=localhost\nport={server.port}\ndbname=postgres\nuser=app\n"
        f"passfile={tmp_path / 'pass'}\n"
    )
    settings = installation.environment() | {"HOME": str(tmp_path), "PGPASSWORD": "wrong"}
    done = subprocess.run(
        [sys.executable, "-m", "pgdrill", "watch", "service=mine", "--for=1s"],
        env=settings,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "user app" in done.stdout
    assert schemas(server.conninfo) == []
