"""Columns of numpy values to PostgreSQL's binary COPY format, whole blocks at a time.

A block is a matrix of bytes, one row for each record, as wide as the widest; a mask of the bytes
that count turns it into the stream. No Python object is made for any single value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pgdrill.workload.dataset.schema import Table

Array = npt.NDArray[Any]
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
BLOCK = 16_384  # rows; the matrices of one block stay in the processor's cache

# A length and a value in network order; booleans are one byte.
FIXED: Mapping[str, str] = {
    "smallint": ">i2",
    "integer": ">i4",
    "bigint": ">i8",
    "float8": ">f8",
    "boolean": "?",
    "date": ">i4",  # days since 2000-01-01
    "timestamptz": ">i8",  # microseconds since 2000-01-01 UTC
}


@dataclass(frozen=True)
class Pool:
    """Distinct values of any length, to be drawn from by index."""

    matrix: Array  # one padded row of bytes for each value
    lengths: Array

    @classmethod
    def of(cls, values: Sequence[str | bytes]) -> "Pool":
        """Make a pool of texts, or of values already in binary form."""
        raw = [value.encode() if isinstance(value, str) else value for value in values]
        width = max(map(len, raw))
        matrix = np.frombuffer(b"".join(v.ljust(width, b"\0") for v in raw), np.uint8)
        return cls(matrix.reshape(len(raw), width), np.array([len(v) for v in raw], np.int32))

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Drawn:
    """Values of a pool, one index for each row."""

    pool: Pool
    index: Array

    def bytes(self, rows: slice) -> tuple[Array, Array]:
        """Padded bytes of some rows, and their lengths."""
        index = self.index[rows]
        return self.pool.matrix.take(index, axis=0), self.pool.lengths.take(index)


@dataclass(frozen=True)
class Digits:
    """Whole numbers as text of a fixed width, padded with zeros."""

    numbers: Array
    width: int

    def bytes(self, rows: slice) -> tuple[Array, Array]:
        """Digits of some rows, and their (equal) lengths."""
        powers = 10 ** np.arange(self.width - 1, -1, -1, dtype=np.int64)
        digits = self.numbers[rows, None] // powers % 10 + ord("0")
        return digits.astype(np.uint8), np.full(len(digits), self.width, np.int32)


@dataclass(frozen=True)
class Joined:
    """Values of variable length, made of parts one after the other."""

    parts: tuple[Drawn | Digits, ...]


@dataclass(frozen=True)
class Maybe:
    """Values of which some are NULL."""

    values: Array
    present: Array


Column = Array | Drawn | Digits | Joined | Maybe
Field = tuple[Array, Array | None]  # bytes, and which of them count (None: all)


def stream(table: Table, columns: Mapping[str, Column], rows: int) -> Iterator[tuple[bytes, int]]:
    """Yield the COPY data of a table in blocks, each with the number of rows in it."""
    count = np.array([len(table.columns)], ">i2").view(np.uint8)
    for start in range(0, rows, BLOCK):
        part = slice(start, min(start + BLOCK, rows))
        size = part.stop - part.start
        fields: list[Field] = [(np.broadcast_to(count, (size, 2)), None)]
        fields += [_field(kind, columns[name], part) for name, kind in table.columns.items()]
        block = _join(fields)
        head = SIGNATURE if start == 0 else b""
        yield head + block + (TRAILER if part.stop == rows else b""), size


def _join(fields: Sequence[Field]) -> bytes:
    matrix = np.concatenate([values for values, _ in fields], axis=1)
    if all(mask is None for _, mask in fields):
        return matrix.tobytes()
    masks = [np.ones((1, 1), bool) if mask is None else mask for _, mask in fields]
    keep = np.concatenate(
        [
            np.broadcast_to(mask, values.shape)
            for (values, _), mask in zip(fields, masks, strict=True)
        ],
        axis=1,
    )
    counting: Array = matrix[keep]
    return counting.tobytes()


def _field(kind: str, column: Column, rows: slice) -> Field:
    if isinstance(column, Joined):
        return _text(column.parts, rows)
    if isinstance(column, Drawn | Digits):
        return _text((column,), rows)
    if isinstance(column, Maybe):
        return _nullable(kind, column, rows)
    values = column[rows]
    match kind:
        case "numeric":
            return _money(values), None
        case "inet":  # family 2 is IPv4, then prefix length, not a cidr, four bytes
            return _prefixed(b"\0\0\0\x08\x02\x20\x00\x04", values), None
        case "uuid":
            return _prefixed(b"\0\0\0\x10", values), None
    return _fixed(FIXED[kind], values), None


def _fixed(kind: str, values: Array) -> Array:
    record = np.empty(len(values), [("length", ">i4"), ("value", kind)])
    record["length"] = np.dtype(kind).itemsize
    record["value"] = values
    return record.view(np.uint8).reshape(len(values), -1)


def _money(cents: Array) -> Array:
    """Encode hundredths below 10^10 as numeric: two digits of base 10000 and one of the fraction.

    The server drops leading zeros itself, so that every value can have one width.
    """
    record = np.zeros(len(cents), ">i2,>i2,>i2,>i2,>i2,>i2,>i2,>i2,>i2")
    units = cents // 100
    numbers = (0, 14, 3, 1, 0, 2, units // 10_000, units % 10_000, cents % 100 * 100)
    for name, number in zip(record.dtype.names or (), numbers, strict=True):
        record[name] = number
    return record.view(np.uint8).reshape(len(cents), -1)


def _prefixed(prefix: bytes, values: Array) -> Array:
    head = np.frombuffer(prefix, np.uint8)
    return np.concatenate([np.broadcast_to(head, (len(values), len(head))), values], axis=1)


def _nullable(kind: str, column: Maybe, rows: slice) -> Field:
    matrix = _fixed(FIXED[kind], column.values[rows])
    absent = ~column.present[rows]
    matrix[absent, :4] = 0xFF  # length -1, no bytes
    keep = np.ones(matrix.shape, bool)
    keep[absent, 4:] = False
    return matrix, keep


def _text(parts: Sequence[Drawn | Digits], rows: slice) -> Field:
    pieces = [part.bytes(rows) for part in parts]
    total = np.sum([lengths for _, lengths in pieces], axis=0).astype(">i4")
    head = total.view(np.uint8).reshape(-1, 4)
    masks = [np.arange(values.shape[1]) < lengths[:, None] for values, lengths in pieces]
    return (
        np.concatenate([head, *(values for values, _ in pieces)], axis=1),
        np.concatenate([np.ones(head.shape, bool), *masks], axis=1),
    )
