"""Records on disk: one a file, or one a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pgdrill.records.base import Record

R = TypeVar("R", bound=Record)


def write(path: Path, record: Record) -> None:
    """Write one record as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(path.suffix + ".part")
    draft.write_text(record.model_dump_json(indent=1) + "\n")
    draft.replace(path)


def append(path: Path, record: Record) -> None:
    """Add one record as a line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(record.model_dump_json() + "\n")


def read(path: Path, kind: type[R]) -> R | None:
    """Read one record; None where the run did not write it.

    Raises:
        ValueError: the file is not such a record.
    """
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_text())
    except ValidationError as error:
        raise ValueError(f"{path} is no {kind.__name__}: {error}") from None


def read_lines(path: Path, kind: type[R]) -> Iterator[R]:
    """Read a file of one record a line; nothing where the run did not write it.

    Raises:
        ValueError: a line is not such a record.
    """
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            yield kind.model_validate(json.loads(line))
        except (ValidationError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}:{number} is no {kind.__name__}: {error}") from None
