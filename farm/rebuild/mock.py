"""The same job through mock, driven as a subprocess."""

from __future__ import annotations

from farm.rebuild.mockaccess import Access, access

__all__ = ["Access", "access", "available"]


def available() -> bool:
    """Whether mock is installed and this user may run it."""
    return access().granted
