"""The prober's record of every attempt: compact in memory, one file on disk.

Imports nothing large: this is loaded in the prober's own process, whose memory is budgeted.
"""

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


class Outcome(IntEnum):
    """What the client can conclude about its write."""

    ACKED = 1  # answered with success: must be in the database from now on
    REFUSED = 2  # never sent, or an answer that is certain to precede the commit: must not be there
    INDETERMINATE = 3  # sent, and no answer that settles it: may be there or not


@dataclass(frozen=True)
class Lane:
    """One kind of client: where it connects, how often it writes, whether it keeps its session.

    Host names in conninfo are looked up beside the attempts (workload.host_names). rate: attempts
    a second. sessions is the pool of a held lane. A direct lane goes straight to a member, perhaps
    a standby, so nobody waits for its acks.
    """

    name: str
    kind: Literal["fresh", "held"]
    conninfo: str
    rate: float
    sessions: int = 8
    direct: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("fresh", "held"):
            raise ValueError(f"lane {self.name}: kind must be fresh or held, not {self.kind!r}")
        if not 0 < self.rate <= 10_000 or self.sessions < 1:
            raise ValueError(f"lane {self.name}: needs a rate in (0, 10000] and a session")


NEVER = 0  # in place of an instant: it was never sent
# Instants are nanoseconds on the monotonic clock. reason, server and lane are
# places in the word lists that the file holds too. position is the place in the attempt's list that
# was answered, from 1; 0: none was.
ATTEMPT = np.dtype(
    [
        ("id", "<i8"),
        ("due", "<i8"),
        ("started", "<i8"),
        ("sent", "<i8"),
        ("ended", "<i8"),
        ("timeline", "<u4"),
        ("position", "<u4"),
        ("reason", "<u2"),
        ("server", "<u2"),
        ("lane", "u1"),
        ("outcome", "u1"),
    ]
)
# Of runs made before attempts wrote to lists.
_WITHOUT_POSITION = np.dtype([field for field in ATTEMPT.descr if field[0] != "position"])
Rows = NDArray[np.void]

_CHUNK = 65_536  # rows, 3 MB: growing copies nothing and takes well under a millisecond
_DATA, _META = "attempts.npy", "attempts.json"


class TextTable:
    """Texts by number; 0 is the empty one, and past the limit all share one place."""

    def __init__(self, limit: int = 10_000) -> None:
        self.all = [""]
        self._limit = limit
        self._places = {"": 0}

    def place(self, text: str) -> int:
        """Return the number of a text, a new one for a new text."""
        found = self._places.get(text)
        if found is None and len(self.all) >= self._limit:
            return self.place("others") if "others" in self._places else self._add("others")
        return self._add(text) if found is None else found

    def _add(self, text: str) -> int:
        self._places[text] = len(self.all)
        self.all.append(text)
        return self._places[text]


class AttemptLog:
    """Grows by chunks, so that no attempt ever waits while the earlier ones are copied."""

    def __init__(self, lanes: Sequence[Lane], deadline: float) -> None:
        self._lanes = [{"name": lane.name, "direct": lane.direct} for lane in lanes]
        self._deadline = deadline
        self._chunks: list[Rows] = []
        self._free = 0
        self.reasons = TextTable()
        self.servers = TextTable()

    def __len__(self) -> int:
        return len(self._chunks) * _CHUNK - self._free

    def add(
        self,
        number: int,
        lane: int,
        instants: tuple[int, int, int, int],
        outcome: Outcome,
        reason: str = "",
        server: str = "",
        timeline: int = 0,
        position: int = 0,
    ) -> None:
        """Write one attempt down; instants are due, started, sent and ended."""
        if not self._free:
            self._chunks.append(np.zeros(_CHUNK, ATTEMPT))
            self._free = _CHUNK
        row = (
            number,
            *instants,
            timeline,
            position,
            self.reasons.place(reason),
            self.servers.place(server),
            lane,
            outcome,
        )
        self._chunks[-1][_CHUNK - self._free] = row
        self._free -= 1

    def save(self, path: Path) -> None:
        """Write everything into one file, whole or not at all."""
        meta = {
            "lanes": self._lanes,
            "deadline": self._deadline,
            "reasons": self.reasons.all,
            "servers": self.servers.all,
        }
        last = len(self._chunks) - 1
        ends = (_CHUNK - self._free if n == last else _CHUNK for n in range(len(self._chunks)))
        chunks = (chunk[:end] for chunk, end in zip(self._chunks, ends, strict=True))
        _write(path, meta, len(self), chunks)


def _write(path: Path, meta: dict[str, Any], size: int, chunks: Iterable[Rows]) -> None:
    draft = path.with_suffix(path.suffix + ".part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_META, json.dumps(meta))
        with archive.open(_DATA, "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": ATTEMPT.descr, "fortran_order": False, "shape": (size,)}
            )
            for chunk in chunks:
                file.write(chunk.tobytes())
    draft.replace(path)


def put_back(path: Path, by: float) -> None:
    """Make the instants of a file earlier: its clock was so many seconds ahead of this machine's.

    Raises:
        ValueError: it is no file of AttemptLog.save.
    """
    rows, meta = load(path)
    for name in ("due", "started", "sent", "ended"):
        instants = rows[name]
        instants[instants != NEVER] -= round(by * 1e9)
    _write(path, meta, rows.size, [rows])


def load(path: Path) -> tuple[Rows, dict[str, Any]]:
    """Read the file that AttemptLog.save wrote.

    Raises:
        ValueError: there is no such file, or it is not of this kind.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            meta: dict[str, Any] = json.loads(archive.read(_META))
            with archive.open(_DATA) as file:
                rows = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no attempts of a prober: {error}") from None
    if rows.dtype == _WITHOUT_POSITION:
        older, rows = rows, np.zeros(rows.size, ATTEMPT)
        for field in _WITHOUT_POSITION.names or ():
            rows[field] = older[field]
    if rows.dtype != ATTEMPT:
        raise ValueError(f"{path} holds attempts of another version: {rows.dtype}")
    return rows, meta
