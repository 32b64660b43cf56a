"""The variables of a user's shell do not reach the programs that pgdrill starts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from pgdrill.settings import ROOT

# Settles, and then prints what a child of it would see.
TELL = """
import os, sys
from pgdrill import process_environment
process_environment.prepare()
exec(sys.argv[1])
"""


def tell(what: str, variables: Mapping[str, str], umask: int = -1) -> str:
    """Run a line of Python after settling in other surroundings; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", TELL, what],
        env=os.environ | variables,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=30,
        umask=umask,
    )
    return str(done.stdout).strip()


@pytest.mark.parametrize(
    "name", ["PGPASSWORD", "PGOPTIONS", "PGSSLMODE", "PGHOST", "PGSERVICE", "PGTARGETSESSIONATTRS"]
)
def test_no_setting_of_libpq_is_left(name: str) -> None:
    """libpq reads some thirty variables: none of the user's is left, ours of the suite stay."""
    line = f"print(os.environ.get({name!r}), os.environ['PGDRILL_X'])"
    assert tell(line, {name: "x", "PGDRILL_X": "1"}) == "None 1"


def test_certificates_in_the_home_directory_are_nobodys(tmp_path: Path) -> None:
    """A client certificate that libpq would find by itself is not looked for where it is."""
    home = tmp_path / ".postgresql"
    home.mkdir()
    (home / "postgresql.crt").write_text("no certificate")
    line = (
        "import psycopg;"
        "known = {o.keyword: o.val for o in psycopg.pq.Conninfo.get_defaults()};"
        "print(known[b'sslcert'].decode())"
    )
    said = tell(line, {"HOME": str(tmp_path)})
    assert said
    assert not Path(said).exists()


def test_this_machine_is_reached_directly_whatever_proxy_is_set() -> None:
    """Addresses of the suite need no proxy, all others do; what the user spared stays spared."""
    proxies = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "intranet.example", "NO_PROXY": ""}
    line = (
        "import requests; process_environment.bypass_proxies('172.18.255.240');"
        "print(*[requests.utils.should_bypass_proxies(u, None) for u in {urls}])"
    )
    ours = ["http://127.0.10.1:8008", "http://localhost:1", "http://172.18.255.240:9090"]
    others = ["http://intranet.example", "http://pypi.example", "http://172.18.255.241"]
    said = tell(line.format(urls=ours + others), proxies)
    assert said == "True True True True False False"


@pytest.mark.parametrize("mask", [0o077, 0o027])
def test_others_may_read_what_is_made(tmp_path: Path, mask: int) -> None:
    """The members' user reads what root writes, whatever the shell's file mode is."""
    made = tmp_path / "made"
    tell(f"open({str(made)!r}, 'w').close(); os.mkdir({str(made) + '.d'!r})", {}, umask=mask)
    assert made.stat().st_mode & 0o777 == 0o644
    assert made.with_suffix(".d").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["C", "POSIX", "de_DE.ISO-8859-1", "xx_XX.nowhere"])
def test_files_and_streams_are_utf_8(tmp_path: Path, name: str) -> None:
    """A page with any character is written, read back, and printed in any locale."""
    file = tmp_path / "page"
    line = (
        f"f = open({str(file)!r}, 'w'); f.write('\\u2264 \\u00fc'); f.close();"
        "print(open(f.name).read())"
    )
    switched_off = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert tell(line, {"LC_ALL": name, "LANG": name} | switched_off) == "\u2264 \u00fc"
    assert file.read_bytes() == "\u2264 \u00fc".encode()


def test_the_end_of_the_terminal_is_an_interrupt() -> None:
    """SIGHUP ends a command as Ctrl-C does, unless nohup had it ignored."""
    line = (
        "import signal, time\n"
        "process_environment.install_signal_handler(lambda number, frame: sys.exit(number))\n"
        "print('ready', flush=True); time.sleep(20)"
    )
    for ignored, code in ((False, signal.SIGHUP), (True, signal.SIGTERM)):
        hangup = signal.SIG_IGN if ignored else signal.SIG_DFL  # whatever these tests began with
        process = subprocess.Popen(
            [sys.executable, "-c", TELL, line],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            preexec_fn=partial(signal.signal, signal.SIGHUP, hangup),
        )
        assert process.stdout is not None
        with process.stdout as said:
            assert said.readline() == b"ready\n"
            process.send_signal(signal.SIGHUP)
            began = time.monotonic()
            if ignored:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.terminate()
            assert process.wait(10) == code
            assert time.monotonic() - began < 10
