"""What was looked at and found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "weak", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `weak`: farm works, with less; `missing`: something will fail."""

    what: str
    severity: Severity
    detail: str
    remedy: str = ""
