"""The commands that are no test: up, down, seed, status, backup, restore, report, watch."""

import argparse
import importlib
import math
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from rich.markup import escape
from rich.table import Table

from pgdrill import process_environment, report, status
from pgdrill.drills import experiment, seeding, watch
from pgdrill.drills.watch_screen import Screen
from pgdrill.errors import BadUsageError, BrokenEnvironmentError, PgdrillError
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import catalogue
from pgdrill.platforms import drift
from pgdrill.platforms.archive import Archive, Target, archive_of
from pgdrill.platforms.base import NeedsPermission, Platform, psql_line
from pgdrill.platforms.select import choose
from pgdrill.progress import Reporter
from pgdrill.provision import images
from pgdrill.provision.supply import Supply
from pgdrill.report import compare, markdown
from pgdrill.settings import BY_KEY, EXISTING, OPTIONS, Option, Settings, resolve
from pgdrill.workload import user_database
from pgdrill.workload.dataset import DatasetError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # it raises, argparse exits
        raise BadUsageError(f"{message} (see `python -m pgdrill --help`)")


# Of commands for an existing cluster.
ACTIONS = {"kube": ("preflight", "rules", "sweep"), "patroni": ("preflight", "sweep")}
LOOKS = "will be looked at; nothing is written"
CLEARS = "will be cleared of what pgdrill made"
# What a command, or its action, does to the cluster, whatever the level.
DOES = {"preflight": LOOKS, "rules": LOOKS, "status": LOOKS, "sweep": CLEARS, "down": CLEARS}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    whole = _Parser(prog="pgdrill", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for name, text in (
        ("up", "bring the platform up (or find it up)"),
        ("down", "remove everything that up made"),
        ("seed", "load the shop dataset (or recognise it) and print its checksums"),
        ("status", "show what is running and whether it is healthy"),
        ("backup", "take a backup"),
        ("restore", "make a new cluster of what the archive holds up to a point"),
        ("discard", "remove the cluster that was restored"),
        ("drift", "show what of the platform differs from what is declared, and change nothing"),
        ("report", "judge a run again from its records, and make its report"),
        ("compare", "put runs side by side: what differs, and what became worse"),
        ("budgets", "list the promises, by the key that sets another limit"),
        ("experiment", "print a fault as a file for `chaos run`; without a name, list the faults"),
        ("init", "write pgdrill.toml for an existing cluster, after a look at it"),
        (
            "kube",
            "preflight: what a drill of an existing cluster needs; rules: which of your alert rules"
            " would see an outage; sweep: undo a killed drill",
        ),
        ("patroni", "preflight and sweep for an existing cluster of Patroni's"),
        ("images", "list what the kind platform is built from: source, version, digest"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        if name == "report":
            command.add_argument("run", help="a run directory, or 'latest'")
            command.add_argument(
                "--document", type=Path, help="also put the tables into this Markdown file"
            )
            command.add_argument(
                "--beside", default="", help="a run of another platform, for the same table there"
            )
            command.add_argument(
                "--markdown", action="store_true", help="print verdicts and tables as Markdown"
            )
        if name == "compare":
            command.add_argument("runs", nargs="+", help="run directories, or their names")
            command.add_argument(
                "--margin",
                type=float,
                default=compare.MARGIN,
                help="percent by which a worst value may differ (%(default)g)",
            )
        if name in EXISTING:
            command.add_argument("action", choices=ACTIONS[name], help="what to do")
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
        _add(command, OPTIONS)
    _add_watch(commands)
    return whole


def _add(command: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    for option in options:
        command.add_argument(
            f"--{option.name}",
            dest=option.key,
            help=f"{option.help} [{option.variable}]".replace("%", "%%"),
            **({"action": "store_const", "const": "true"} if option.is_flag else {}),  # type: ignore[arg-type]
        )


WATCH_OPTIONS = tuple(BY_KEY[key] for key in ("budget", "run_id", "reports_dir"))
DSN, READ_ONLY_DSN = "PGDRILL_DSN", "PGDRILL_READ_ONLY_DSN"


def _add_watch(commands: "argparse._SubParsersAction[_Parser]") -> None:
    text = "write into your own database while you break it: gaps, failovers, lost writes"
    command = commands.add_parser("watch", help=text, description=text)
    command.add_argument(
        "dsn",
        nargs="?",
        default=f"env:{DSN}",
        help="connection string, URI or 'host=... dbname=...'; env:NAME: the content of that"
        " variable (%(default)s)",
    )
    command.add_argument(
        "--read-only", default="", help="a connection string for reads", metavar="DSN"
    )
    command.add_argument(
        "--for", dest="lasting", type=_length, default=watch.LONGEST, help="how long: 90s, 10m, 1h"
    )
    command.add_argument(
        "--rate",
        type=_between(1, 500),
        default=watch.RATE,
        help="writes a second, a fifth of them on new connections (%(default)g)",
    )
    command.add_argument(
        "--deadline",
        type=_between(0.1, 60),
        default=watch.DEADLINE,
        help="seconds that a client waits for its write (%(default)g)",
    )
    command.add_argument(
        "--clean", action="store_true", help="remove what killed watches left, and end"
    )
    _add(command, WATCH_OPTIONS)


def _length(text: str) -> float:
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    whole = 3600 * hours + 60 * minutes + seconds
    if whole < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time, such as 90s, 10m or 1h")
    return float(whole)


def _between(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not between {least:g} and {most:g}")
        return number

    return parse


def _up(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    with platform.lock():
        platform.up(settings)
    reporter.line(f"primary: {platform.engine.primary().name}")
    reporter.line(f"psql: {platform.psql()}")
    if platform.prometheus_url:
        reporter.line(
            f"Prometheus: {platform.prometheus_url}  Alertmanager: {platform.alertmanager_url}"
        )


def _down(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    with platform.lock():
        platform.down()
    reporter.line("nothing of the platform is left")


def _seed(platform: Platform, settings: Settings, reporter: Reporter) -> None:
    with platform.lock():
        if isinstance(platform, NeedsPermission):
            platform.permit("load")
        try:
            seed = seeding.seed_cluster(platform, platform.cluster(), settings, reporter)
        except DatasetError as error:
            raise PgdrillError(str(error)) from None
    for line in seeding.summary(seed):
        reporter.line(line)


def _status(as_json: bool, platform: Platform, reporter: Reporter) -> None:
    found = status.look(platform)
    if as_json:
        reporter.line(found.json())
    else:
        status.show(found, reporter)


def _existing(
    command: str, action: str, platform: Platform, settings: Settings, reporter: Reporter
) -> None:
    """Print what a drill of an existing cluster needs, or remove what a killed drill left there.

    Raises:
        BrokenEnvironmentError: the level cannot do without something that is missing.
    """
    from pgdrill.platforms.existing import needs  # noqa: PLC0415  # as in select
    from pgdrill.platforms.existing.platform import ExistingPlatform  # noqa: PLC0415

    preflight = importlib.import_module(f"pgdrill.platforms.{command}.preflight")
    if not isinstance(platform, ExistingPlatform) or platform.name != command:
        raise BadUsageError(f"`pgdrill {command} {action}` goes with --platform={command}")
    if action == "sweep":
        with platform.lock():
            platform.down()
        reporter.line(f"nothing of pgdrill is left in {platform.title}")
        return
    if action == "rules":
        _rules(platform, reporter)
        return
    rows = preflight.look(platform)
    caption = f"as {preflight.who(platform)}"
    table = Table("needed", "for", "level", "there", caption=caption)
    for row in rows:
        table.add_row(*map(escape, (row.what, row.why, row.level, row.answer)))
    reporter.console.print(table)
    missing = needs.missing(rows, settings.level)
    if missing:
        raise BrokenEnvironmentError(
            f"--level={settings.level} lacks {', '.join(row.what for row in missing)}: the table"
            f" has the remedies{preflight.MORE}; nothing was done"
        )
    reporter.line(f"--level={settings.level} has all that it needs")


def _rules(platform: Platform, reporter: Reporter) -> None:
    """Print which alerts of the user's would see an outage; nothing is broken for it."""
    from pgdrill.platforms.kube import rules  # noqa: PLC0415  # as in select
    from pgdrill.platforms.kube.platform import KubePlatform  # noqa: PLC0415

    assert isinstance(platform, KubePlatform)
    caption = "from the fault to firing; what your rules read of other namespaces is not there"
    table = Table("outage", "lasting", "would fire", caption=caption)
    for row in rules.rows(rules.look(platform)):
        table.add_row(*map(escape, row))
    reporter.console.print(table)


def _init(settings: Settings, reporter: Reporter) -> None:
    """Write pgdrill.toml here, for the cluster that the options name or the only one there is.

    Raises:
        BadUsageError: it exists, or no context or one of several clusters is to be named.
        BrokenEnvironmentError: the cluster cannot be looked at.
    """
    file = Path("pgdrill.toml")
    if settings.patroni or settings.platform == "patroni":
        from pgdrill.platforms.patroni import settings_file as of_patroni  # noqa: PLC0415

        reporter.line(f"{file}: {of_patroni.init(file, settings)}")
        reporter.line("next: `pgdrill patroni preflight`, then `pytest -m smoke`")
        return
    from pgdrill.platforms.kube import discovery, platform, settings_file  # noqa: PLC0415

    access = discovery.choose_context(platform.kubeconfig(), settings.context)
    found = settings_file.init(file, access, settings.namespace, settings.cluster)
    reporter.line(
        f"{file}: Cluster {found.namespace}/{found.name} of {found.server}, {found.instances}"
        f" instances of {found.postgres}"
    )
    reporter.line("next: `pgdrill kube preflight`, then `pytest -m smoke`")


def _drift(platform: Platform, reporter: Reporter) -> int:
    """Print what differs; 1 where something does."""
    with platform.lock():
        differs = drift.show(platform.name, reporter)
    reporter.line(f"{differs} things differ" if differs else "nothing differs")
    return 1 if differs else 0


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
            raise BadUsageError(f"give a target: AT=latest, or a point {archive.range()}")
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


def _report(given: Mapping[str, Any], settings: Settings, reporter: Reporter) -> None:
    run, document, beside = given["run"], given["document"], given["beside"]
    if beside and not document:
        raise BadUsageError("--beside needs --document: it is for the table there")
    path = _find_run(settings.reports_dir, run)
    own = catalogue.limits(settings)
    if given["markdown"]:
        sys.stdout.write(markdown.summary(path, own))
        return
    report.splice(path, own)
    if document:
        other = _find_run(settings.reports_dir, beside) if beside else None
        markdown.update(document, path, own, other)
        reporter.line(f"tables: {document}")
    for line in report.terminal(path, own):
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
        limit = "yours" if math.isinf(budget.limit) else f"{sign} {budget.limit:g} {budget.unit}"
        table.add_row(key, limit, budget.because)
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


def _watch(given: dict[str, Any], whole: bool, reporter: Reporter) -> int:
    """Watch a database of the user's; 1 where a promise is broken.

    whole: the command line belongs to this process alone.
    """
    if whole:
        _hide(given)
    process_environment.restore_certificates()
    screen, ending = Screen(reporter), watch.StopRequest()
    process_environment.install_signal_handler(ending)
    try:
        order = watch.WatchOptions(
            _dsn(given["dsn"]),
            _dsn(given["read_only"]) if given["read_only"] else "",
            given["lasting"],
            given["rate"],
            given["deadline"],
        )
        for name in (DSN, READ_ONLY_DSN):
            os.environ.pop(name, None)  # no child needs it
        settings = resolve({option.key: given[option.key] for option in WATCH_OPTIONS})
        if not settings.asked_for("run_id"):
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            settings = replace(settings, run_id=f"{stamp}-watch-{secrets.token_hex(2)}")
        if given["clean"]:
            watch.clean(order.dsn, screen.say)
            return 0
        return watch.watch(order, settings, screen, ending)
    except KeyboardInterrupt:
        screen.say("interrupted")
        return 130


def _dsn(text: str) -> str:
    if not text.startswith("env:"):
        return text
    found = os.environ.get(text.removeprefix("env:"), "")
    if not found:
        raise BadUsageError(
            f"no DSN: {text.removeprefix('env:')} is not set; give one, such as"
            " `pgdrill watch postgresql://USER@HOST/DATABASE`"
        )
    return found


def _hide(given: dict[str, Any]) -> None:
    """Start again without the password on the command line, which every user of a machine sees."""
    words, hidden = list(sys.orig_argv), {}
    for name, dsn in ((DSN, given["dsn"]), (READ_ONLY_DSN, given["read_only"])):
        if dsn and not dsn.startswith("env:") and user_database.has_secret(dsn):
            hidden[name] = dsn
            words = [
                word.removesuffix(dsn) + f"env:{name}"
                if word == dsn or re.fullmatch(r"--r[a-z-]*=", word.removesuffix(dsn))
                else word
                for word in words
            ]
    if hidden:
        os.execve(sys.executable, words, os.environ | hidden)


# Commands that need no platform.
LISTS: dict[str, Callable[[Settings, Reporter], None]] = {
    "images": _images,
    "budgets": _budgets,
    "init": _init,
}


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Clean up before the process ends, whatever signal ends it."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code.

    0, 1 a run that is worse than another, a watch that saw a promise broken, a platform that
    differs or a dataset that is damaged, 2 environment, 4 usage, 130 interrupted.
    """
    process_environment.prepare()
    process_environment.install_signal_handler(_interrupt)
    reporter = Reporter()
    try:
        given = vars(parser().parse_args(arguments))
        if given["command"] == "watch":
            return _watch(given, arguments is None, reporter)
        if given["command"] in EXISTING:
            given["platform"] = given["platform"] or given["command"]
        settings = resolve({o.key: given[o.key] for o in OPTIONS})
        if given["command"] == "report":
            _report(given, settings, reporter)
            return 0
        if given["command"] == "compare":
            return _compare(given["runs"], given["margin"], settings, reporter)
        if given["command"] == "experiment":
            _experiment(given["fault"], reporter)
            return 0
        if given["command"] in LISTS:
            LISTS[given["command"]](settings, reporter)
            return 0
        platform, why = choose(
            settings, reporter, DOES.get(given.get("action", given["command"]), "")
        )
        if not given.get("json"):
            reporter.line(f"platform: {platform.name} ({why})")
        if given["command"] == "status":
            _status(given["json"], platform, reporter)
        elif given["command"] in EXISTING:
            _existing(given["command"], given["action"], platform, settings, reporter)
        elif given["command"] == "drift":
            return _drift(platform, reporter)
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
