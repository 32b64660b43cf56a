"""The commands that are no test: up, down, seed, status, report."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.markup import escape

from pgdrill import report
from pgdrill.errors import BadUsageError, BrokenEnvironmentError, PgdrillError
from pgdrill.platforms.base import Platform
from pgdrill.platforms.select import choose
from pgdrill.progress import Reporter
from pgdrill.provision import images
from pgdrill.provision.supply import Supply
from pgdrill.report import markdown
from pgdrill.settings import OPTIONS, Settings, resolve
from pgdrill.workload import seeding


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # it raises, argparse exits
        raise BadUsageError(f"{message} (see `python -m pgdrill --help`)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pgdrill", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for name, text in (
        ("up", "bring the platform up (or find it up)"),
        ("down", "remove everything that up made"),
        ("seed", "load the shop dataset (or recognise it) and print its checksums"),
        ("status", "say what is running and whether it is healthy"),
        ("report", "recompute a run's report from its records"),
        ("images", "list what the kind platform is built from: source, version, digest"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        if name == "report":
            command.add_argument("run", help="a run directory, or 'latest'")
            command.add_argument(
                "--document", type=Path, help="also put the tables into this Markdown file"
            )
        for option in OPTIONS:
            command.add_argument(
                f"--{option.name}",
                dest=option.key,
                help=f"{option.help} [{option.variable}]".replace("%", "%%"),
                **({"action": "store_const", "const": "true"} if option.is_flag else {}),  # type: ignore[arg-type]
            )
    return parser


def _up(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    with platform.lock():
        platform.up(settings)
    reporter.line(f"primary: {platform.engine.primary().name}")
    reporter.line(f"psql: {platform.psql()}")
    reporter.line(
        f"Prometheus: {platform.prometheus_url}  Alertmanager: {platform.alertmanager_url}"
    )


def _down(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    with platform.lock():
        platform.down()
    reporter.line("nothing of the platform is left")


def _seed(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    with platform.lock():
        seed = seeding.seed_cluster(platform.cluster(), settings, reporter)
    for line in seeding.summary(seed):
        reporter.line(line)


def _status(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    if not platform.is_up():
        raise BrokenEnvironmentError("nothing is running here: `make up` first")
    for member in platform.engine.members():
        reporter.line(repr(member))


COMMANDS: dict[str, Callable[[Platform, Settings, Reporter], None]] = {
    "up": _up,
    "down": _down,
    "seed": _seed,
    "status": _status,
}


def _report(run: str, document: Path | None, settings: Settings, reporter: Reporter) -> None:
    path = _find_run(settings.reports_dir, run)
    report.rebuild(path)
    if document:
        markdown.update(document, path)
        reporter.line(f"tables: {document}")
    for line in report.terminal(path):
        reporter.line(line)


def _find_run(reports: Path, run: str) -> Path:
    """Return a run directory by path, by id below the reports, or the latest.

    Raises:
        BadUsageError: there is no such run.
    """
    if run == "latest":
        runs = sorted(reports.glob("*/clock.json"), key=lambda file: file.stat().st_mtime)
        if not runs:
            raise BadUsageError(f"no run below {reports}: `make drill` makes one")
        return runs[-1].parent
    return Path(run) if Path(run).is_dir() else reports / run


def _images(settings: Settings, reporter: Reporter) -> None:
    """Print every component of the kind platform."""
    rows = images.table(Supply.of(settings))
    names = max(len(one.name) for one in rows)
    versions = max(len(one.version) for one in rows)
    for one in rows:
        digest = one.digest[:19] or "not here"
        reporter.line(f"{one.name:{names}}  {one.version:{versions}}  {digest:20} {one.origin}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM clean up as Ctrl-C does."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 2 environment, 4 usage, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    reporter = Reporter()
    try:
        given = vars(_parser().parse_args(arguments))
        settings = resolve({o.key: given[o.key] for o in OPTIONS})
        if given["command"] == "report":
            _report(given["run"], given["document"], settings, reporter)
            return 0
        if given["command"] == "images":
            _images(settings, reporter)
            return 0
        platform, why = choose(settings, reporter)
        reporter.line(f"platform: {platform.name} ({why})")
        COMMANDS[given["command"]](platform, settings, reporter)
    except PgdrillError as error:
        Reporter().console.print(f"[bold red]pgdrill:[/] {escape(str(error))}")
        return error.exit_code
    except KeyboardInterrupt:
        reporter.line("interrupted; `make down` removes what was made")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
