"""Tables for performance-report.md: generated from a run, between two markers in prose by hand."""

from pathlib import Path

from pgdrill.errors import BadUsageError
from pgdrill.judge.promises import Limits
from pgdrill.report.material import Material
from pgdrill.report.reading import read_run
from pgdrill.report.suites import on_paper
from pgdrill.report.tables import cell

BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"


def update(document: Path, run: Path, limits: Limits | None = None) -> None:
    """Replace what stands between the document's markers by the tables of a run.

    limits: of the user's, where every verdict is to be judged anew from the records.

    Raises:
        BadUsageError: no run in the directory, or a document without both markers.
    """
    text = document.read_text() if document.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BadUsageError(f"{document} has no place for tables: put {BEGIN} and {END} into it")
    document.write_text(f"{before}{BEGIN}\n{tables(run, limits)}\n{END}{after}")


def tables(run: Path, limits: Limits | None = None) -> str:
    """Return all tables of a run as markdown; what it did not measure is left out.

    Raises:
        BadUsageError: there is no run in this directory.
    """
    m = read_run(run, limits)
    parts = [_origin(m), *(part for suite in on_paper() for part in suite.tables(m))]
    return "\n\n".join(part for part in parts if part)


def _origin(m: Material) -> str:
    found = [v.outcome for v in m.promises]
    judged = f"{found.count('met')} of {len(found)} promises kept" if found else "nothing judged"
    if not m.fingerprint:
        return f"Run `{m.path.name}`: {judged}."
    f = m.fingerprint
    machine = ", ".join(f"{name} {value}" for name, value in f.machine.items())
    return (
        f"Run `{m.path.name}` on {f.platform} with {f.engine} ({cell(machine)}): {judged}."
        f" Again: `{f.command}`"
    )
