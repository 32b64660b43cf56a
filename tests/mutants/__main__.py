"""Change the code that decides verdicts, one thing at a time, and see which tests notice.

`make mutants`; [tool.mutmut] of pyproject.toml says what is changed and which tests are run.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from tests.mutants.score import REASONS, Change, complaints, reasons, table

WORKED_IN = Path("mutants")
WITHIN = 7200  # seconds for all of it, which nothing but a machine that is busy otherwise takes
AT_ONCE = "2"  # two cores are what everything here is measured on
# A test run that hangs, or whose process dies, has noticed as well; so has one that ends itself, as
# pgdrill's plugin does where it finds the environment broken (2, mutmut's "interrupted").
NOTICED = {"killed", "timeout", "segfault", "check was interrupted by user"}


def main() -> int:
    """Make every change, run the tests of each, and print the score; return the exit code."""
    why = reasons(REASONS.read_text())
    shutil.rmtree(WORKED_IN, ignore_errors=True)  # a result of before says nothing of today's tests
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", AT_ONCE]
    try:
        subprocess.run(command, check=True, timeout=WITHIN)
    except subprocess.TimeoutExpired:
        print(f"mutants: not done within {WITHIN} s: the machine is busy, try again later")
        return 2
    except subprocess.CalledProcessError as error:
        print(f"mutants: mutmut ended with {error.returncode}: its last lines say why")
        return 2
    statuses: dict[str, list[bool]] = {}
    survivors = []
    for file in sorted(WORKED_IN.rglob("*.meta")):
        source = file.relative_to(WORKED_IN).with_suffix("")
        for name, code in json.loads(file.read_text())["exit_code_by_key"].items():
            noticed = status_by_exit_code[code] in NOTICED
            statuses.setdefault(str(source), []).append(noticed)
            if not noticed:
                function, of_class = orig_function_and_class_names_from_key(name)
                place = (*source.with_suffix("").parts, of_class, function)
                diff = get_diff_for_mutant(name, path=source)
                survivors.append(Change.read(".".join(filter(None, place)), diff))
    wrong = complaints(statuses, survivors, why)
    print("\n".join([*table(statuses), *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
