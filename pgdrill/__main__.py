"""The commands that are no test: up, down, seed, status, backup, restore, discard, report."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import yaml
from rich.markup import escape
from rich.table import Table

from pgdrill import report, status, surroundings
from pgdrill.drills import experiment, seeding
from pgdrill.errors import BadUsageError, BrokenEnvironmentError, PgdrillError
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import catalogue
from pgdrill.platforms.archive import Archive, Target, archive_of
from pgdrill.platforms.base import Platform, psql_line
from pgdrill.platforms.select import choose
from pgdrill.progress import Reporter
from pgdrill.provision import images
from pgdrill.provision.supply import Supply
from pgdrill.report import compare, markdown
from pgdrill.settings import OPTIONS, Settings, resolve


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
        ("backup", "take a backup"),
        ("restore", "make a new cluster of what the archive holds up to a point"),
        ("discard", "remove the cluster that was restored"),
        ("report", "recompute a run's report from its records"),
        ("compare", "put runs side by side: what differs, and what became worse"),
        ("budgets", "list the promises, by the key that sets another limit"),
        ("experiment", "print a fault as a file for `chaos run`; without a name, list the faults"),
        ("images", "list what the kind platform is built from: source, version, digest"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        if name == "report":
            command.add_argument("run", help="a run directory, or 'latest'")
            command.add_argument(
                "--document", type=Path, help="also put the tables into this Markdown file"
            )
        if name == "compare":
            command.add_argument("runs", nargs="+", help="run directories, or their names")
            command.add_argument(
                "--margin",
                type=float,
                default=compare.MARGIN,
                help="percent by which a worst value may differ (%(default)g)",
            )
        if name == "experiment":
            command.add_argument("fault", nargs="?", default="", help="the name of a fault")
        if name == "restore":
            command.add_argument(
                "at",
                nargs="?",
                default="",
                help="an instant (RFC 3339), an LSN, the name of a restore point, or 'latest'",
            )
            command.add_argument(
                "--replace",
                action="store_true",
                help="remove the cluster that was restored before (never the first one)",
            )
        if name == "backup":
            command.add_argument(
                "--differential",
                action="store_true",
                help="only what changed since the last full one (local)",
            )
        if name == "status":
            command.add_argument("--json", action="store_true", help="for programs")
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


def _status(as_json: bool, platform: Platform, reporter: Reporter) -> None:
    found = status.look(platform)
    if as_json:
        reporter.line(found.json())
    else:
        status.show(found, reporter)


def _archive(platform: Platform) -> Archive:
    if not platform.is_up():
        raise BrokenEnvironmentError("nothing is running here: `make up` first")
    archive = archive_of(platform)
    if archive is None:
        raise BadUsageError(
            f"{platform.name} keeps no backups here: `make up PLATFORM={platform.name} ARCHIVE=1`"
            " gives it an archive"
        )
    return archive


def _backup(differential: bool, platform: Platform, reporter: Reporter) -> None:
    with platform.lock():
        archive = _archive(platform)
        with reporter.task("differential backup" if differential else "full backup") as update:
            backup = archive.back_up(update, differential=differential)
    reporter.line(
        f"{backup.label}: {backup.size / 1e6:,.0f} MB, {backup.stored / 1e6:,.0f} MB kept of it"
    )
    first = archive.backups()[0]
    reporter.line(f"can be restored: every point since {first.ended:%Y-%m-%dT%H:%M:%SZ}")


def _restore(at: str, replace: bool, platform: Platform, reporter: Reporter) -> None:
    with platform.lock():
        archive = _archive(platform)
        if not at:
            raise BadUsageError(f"say what to restore to: AT=latest, or a point {archive.range()}")
        with reporter.task(f"restore to {at}") as update:
            restored = archive.restore(Target.parse(at), update, replace=replace)
    before = 0.0
    for step, after in restored.steps.items():
        reporter.line(f"{step:<12} {after - before:5.1f} s")
        before = after
    reporter.line(f"from backup {restored.backup}; primary: {restored.engine.primary().name}")
    reporter.line(f"psql: {psql_line(restored.cluster)}")
    reporter.line("the first cluster is untouched; `make discard` removes this one")


def _discard(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    with platform.lock():
        _archive(platform).discard()
    reporter.line("no restored cluster is left")


COMMANDS: dict[str, Callable[[Platform, Settings, Reporter], None]] = {
    "up": _up,
    "down": _down,
    "seed": _seed,
    "discard": _discard,
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


def _budgets(settings: Settings, reporter: Reporter) -> None:
    """Print every promise, with the user's limits in place."""
    caption = "where engines, timings or sizes differ: the strictest"
    table = Table("key", "limit", "because", caption=caption)
    own = catalogue.limits(settings)
    for key, budget in catalogue.known().items():
        budget = own.apply(budget)
        sign = "≤" if budget.better == "lower" else "≥"
        table.add_row(key, f"{sign} {budget.limit:g} {budget.unit}", budget.because)
    reporter.console.print(table)


def _compare(runs: list[str], margin: float, settings: Settings, reporter: Reporter) -> int:
    """Print runs side by side and write a page; 1 where the last is worse than the first."""
    found = compare.compare([_find_run(settings.reports_dir, run) for run in runs], margin)
    for table in compare.tables(found):
        reporter.console.print(table)
    page = settings.reports_dir / f"compare-{found.names[0]}-{found.names[-1]}.html"
    reporter.line(f"page: {compare.write(found, page)}")
    for one in found.worse:
        reporter.line(f"worse: {one.subject}, {one.what}: {one.cell(0)}, now {one.cell(-1)}")
    return 1 if found.worse else 0


def _experiment(fault: str, reporter: Reporter) -> None:
    """Print a fault as chaostoolkit takes it, or which there are.

    Raises:
        BadUsageError: there is no such fault.
    """
    if not fault:
        table = Table("fault", "what happens", "the primary", "smallest profile")
        for spec in FAULTS.values():
            table.add_row(spec.name, spec.title, spec.primary, spec.profile)
        reporter.console.print(table)
    elif fault in FAULTS:
        sys.stdout.write(yaml.safe_dump(experiment.of(FAULTS[fault]).document, sort_keys=False))
    else:
        raise BadUsageError(f"there is no fault {fault}; there are {', '.join(FAULTS)}")


LISTS: dict[str, Callable[[Settings, Reporter], None]] = {"images": _images, "budgets": _budgets}


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Clean up, whoever asks for the end."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code.

    0, 1 a run that is worse than another, 2 environment, 4 usage, 130 interrupted.
    """
    surroundings.settle()
    surroundings.handle(_interrupt)
    reporter = Reporter()
    try:
        given = vars(_parser().parse_args(arguments))
        settings = resolve({o.key: given[o.key] for o in OPTIONS})
        if given["command"] == "report":
            _report(given["run"], given["document"], settings, reporter)
            return 0
        if given["command"] == "compare":
            return _compare(given["runs"], given["margin"], settings, reporter)
        if given["command"] == "experiment":
            _experiment(given["fault"], reporter)
            return 0
        if given["command"] in LISTS:
            LISTS[given["command"]](settings, reporter)
            return 0
        platform, why = choose(settings, reporter)
        if not given.get("json"):
            reporter.line(f"platform: {platform.name} ({why})")
        if given["command"] == "status":
            _status(given["json"], platform, reporter)
        elif given["command"] == "backup":
            _backup(given["differential"], platform, reporter)
        elif given["command"] == "restore":
            _restore(given["at"], given["replace"], platform, reporter)
        else:
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
