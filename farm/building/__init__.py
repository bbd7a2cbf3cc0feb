"""`farm build`: which packages are meant, and the plan walked until nothing more shows; others who
join it with a wish meanwhile (farm/wishes.py) get theirs built as well."""

from __future__ import annotations

from farm.building.request import BuildRequest, granted, tries_again, wanted, wish_of
from farm.building.run import Build

__all__ = ["Build", "BuildRequest", "granted", "tries_again", "wanted", "wish_of"]
