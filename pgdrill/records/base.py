"""The base of every record."""

from typing import ClassVar, Unpack

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable record that survives a round trip through JSON.

    A kind that a run keeps by itself names its file: `class Trial(Record, file="trials.jsonl")`.
    One record a line where the name ends in `.jsonl`, one alone otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    FILE: ClassVar[str] = ""

    def __init_subclass__(cls, *, file: str = "", **kwargs: Unpack[ConfigDict]) -> None:
        """Take the name of the kind's file."""
        super().__init_subclass__(**kwargs)
        cls.FILE = file
