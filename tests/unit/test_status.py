"""The table of what is running: what is known, and what is not."""

import io
import json
from dataclasses import replace

from rich.console import Console

from pgdrill.engines.base import Member
from pgdrill.progress import Reporter
from pgdrill.status import Status, show

PRIMARY = Member("pg1", "1@1", "primary", True, 3, True, False, 0)
STANDBY = Member("pg2", "2@2", "standby", True, 3, True, True, 1536)
GONE = Member("pg3", "", "unknown", False, 0, False, False, None)
WELL = Status(
    platform="local",
    up=True,
    complaints=(),
    members=(PRIMARY, STANDBY),
    addresses={"read-write": "127.0.10.10:5432"},
    alerts=(),
    newest_backup="2026-11-27T05:16:24+00:00",
    restored="",
    unknown=(),
)


def shown(status: Status) -> str:
    """The output for people."""
    out = io.StringIO()
    show(status, Reporter(Console(file=out, width=120)))
    return out.getvalue()


def test_a_healthy_cluster_is_a_table_and_a_few_facts() -> None:
    """Roles, timelines and lag stand in columns; no object is printed."""
    text = shown(WELL)
    assert "Member(" not in text
    assert [line.split() for line in text.splitlines()[1:3]] == [
        ["pg1", "primary", "3", "-", "-", "0", "bytes"],
        ["pg2", "standby", "3", "yes", "yes", "1,536", "bytes"],
    ]
    assert "fully redundant" in text
    assert "none fires" in text
    assert "2026-11-27T05:16:24+00:00" in text
    assert "unknown" not in text


def test_half_a_cluster_is_shown_with_what_is_missing() -> None:
    """A member that does not answer, an alert that fires, and who could not be asked."""
    text = shown(
        replace(
            WELL,
            up=False,
            members=(PRIMARY, GONE),
            complaints=("pg3 is not running",),
            alerts=("PgMemberDown pg3",),
            newest_backup=None,
            unknown=("backups: pgBackRest: no repository",),
        )
    )
    assert "not running" in text
    assert "pg3 is not running; not all of it is up" in text
    assert "PgMemberDown pg3" in text
    assert "unknown: backups: pgBackRest: no repository" in text


def test_nothing_but_addresses_can_be_known() -> None:
    """Without an answer the table is left out, and the rest is unknown."""
    text = shown(
        replace(WELL, up=False, members=None, complaints=None, alerts=None, unknown=("members: x",))
    )
    assert "timeline" not in text
    assert text.count("unknown") == 3
    assert "127.0.10.10:5432" in text


def test_programs_read_the_same() -> None:
    """JSON holds every field, members as objects."""
    read = json.loads(WELL.json())
    assert read["members"][1] | {"lag": 0} == json.loads(json.dumps(STANDBY.__dict__)) | {"lag": 0}
    assert read["complaints"] == []
