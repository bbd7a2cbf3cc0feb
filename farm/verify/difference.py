"""One thing that is not the same in two packages, as data."""

from __future__ import annotations

from typing import Literal

from farm.model import Noun


class Difference(Noun, frozen=True, kw_only=True):
    """One thing that differs between a package and its second build.

    `kind` is what it is a difference of: a `tag` of the header (`path` is its name), an `entry`
    of the file list (`aspect` says which property; `missing` and `added` are files that only
    the first or only the second has), the `content` of a file, the `payload` as a whole, the
    `signature` header, or `damage` that makes comparing impossible. `part` is a section or a
    member inside of a file. `offset` (bytes) is where the first difference lies in the part, or
    in the file. What is a `consequence` of another difference explains nothing by itself.
    """

    kind: Literal["tag", "entry", "missing", "added", "content", "payload", "signature", "damage"]
    path: str = ""
    aspect: str = ""
    part: str = ""
    old: str = ""
    new: str = ""
    offset: int | None = None
    excerpt: tuple[str, ...] = ()
    cause: str = ""  # in words, "" where nothing is known
    consequence: bool = False

    @property
    def place(self) -> str:
        """`/usr/bin/pdsh, .rodata`"""
        return f"{self.path}, {self.part}" if self.part else self.path

    def __str__(self) -> str:
        return f"{self.plainly}: {self.cause}" if self.cause else self.plainly

    @property
    def plainly(self) -> str:
        """What differs, in one line, without the likely cause."""
        both = f": {self.old or '(none)'} / {self.new or '(none)'}" if self.old or self.new else ""
        if self.kind == "tag":
            return f"header tag {self.path}{both}"
        if self.kind == "missing":
            return f"{self.path} is missing in the second build"
        if self.kind == "added":
            return f"{self.path} is only in the second build"
        if self.kind == "entry":
            return f"{self.path}: {self.aspect}{both}"
        if self.kind == "content":
            at = f" from byte {self.offset}" if self.offset is not None else ""
            what = f", {self.aspect}" if self.aspect else ""
            verb = "differ" if self.part.startswith("sections ") else "differs"
            return f"{self.place} {verb}{at}{what}{both}"
        return f"{self.path or self.kind}: {self.aspect}{both}"
