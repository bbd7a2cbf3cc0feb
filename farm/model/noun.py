"""What all nouns have in common: immutable, comparable, JSON both ways."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TypeVar

import msgspec

from farm.errors import StateError

T = TypeVar("T")


class Noun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all nouns: immutable, comparable, hashable, JSON both ways."""


def to_json(noun: object) -> bytes:
    """Canonical JSON: fields in declared order, no white space; equal nouns, equal bytes."""
    return msgspec.json.encode(noun, order="deterministic")


def from_json(kind: type[T], text: bytes, *, where: str = "") -> T:
    """Parse what `to_json` wrote. Raises StateError naming `where` on anything else."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as error:  # DecodeError is one
        raise StateError(
            f"{where or 'a record'} is not a {_name(kind)} that this farm understands",
            why=str(error),
            hint="It was written by another version of farm, or damaged.",
        ) from error


def _name(kind: object) -> str:
    return getattr(kind, "__name__", "record")  # a union of nouns has no name


def repeated_name(text: bytes) -> str:
    """A name that some object of a JSON text has twice, "" when there is none.

    Of its two values one reader takes the first and another the last: what is signed so says
    different things to different people.
    """
    found: list[str] = []

    def seen(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            found.append(next(name for name in names if names.count(name) > 1))

    try:
        json.loads(text, object_pairs_hook=seen)
    except (ValueError, RecursionError):
        return ""
    return found[0] if found else ""


def rfc3339(seconds: float) -> str:
    """A time (seconds since 1970) as programs exchange it: RFC 3339, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def digest_of(noun: object) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(to_json(noun)).hexdigest()
