"""What a stranger says who made published packages again: SLSA's verification summary, version 1.

The statement is in-toto's. Its subjects are the packages of one snapshot that could be made again,
with names, digests and annotations as in the packages' provenance. PASSED: all of these came out
the same. FAILED: at least one did not. What could not be made again is no subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from farm.model.noun import Noun
from farm.model.provenance import Resource

VERIFICATION = "https://slsa.dev/verification_summary/v1"
POLICY = "urn:farm:verify:1"  # the same bytes come out, in a root of the locked packages
# The levels that farm knows: what is verified, and SLSA's word for what is not.
REBUILT, NOT_REBUILT = "FARM_REBUILT", "FAILED"


class Verifier(Noun, frozen=True, rename="camel", forbid_unknown_fields=False):
    """Who verified: `id` is a URI (`openpgp4fpr:` and the fingerprint), `version` names farm's."""

    id: str
    version: Mapping[str, str] = {}


class Remade(Noun, frozen=True, rename="camel", forbid_unknown_fields=False):
    """What came of one package file: `reason` says what differs, or why it cannot be said."""

    name: str  # file name
    sha256: str  # of the published file
    result: Literal["same", "different", "cannot"]
    reason: str = ""


class Detail(Noun, frozen=True, rename="camel", forbid_unknown_fields=False):
    """Farm's own part: of which snapshot, and what came of each package that was asked for."""

    release: str
    snapshot: str  # id
    packages: tuple[Remade, ...]


class Summary(Noun, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=False):
    """SLSA's predicate; the names of fields that are not its own are URIs, as its rules want."""

    verifier: Verifier
    time_verified: str  # RFC 3339, UTC
    resource_uri: str  # address of the snapshot
    policy: Resource  # uri: POLICY
    input_attestations: tuple[Resource, ...] = ()  # each F.intoto.json: uri, digest sha256
    verification_result: Literal["PASSED", "FAILED"]
    verified_levels: tuple[str, ...]  # (REBUILT,) or (NOT_REBUILT,)
    slsa_version: str = ""
    detail: Detail = msgspec.field(name="urn:farm:remade")


class Attestation(Noun, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=False):
    """The statement in the envelope: `type` is provenance.STATEMENT."""

    type: str = msgspec.field(name="_type")
    subject: tuple[Resource, ...]
    predicate_type: str  # VERIFICATION
    predicate: Summary
