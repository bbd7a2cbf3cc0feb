"""DSSE envelopes: a statement with the signatures over it, in one JSON file.

The form is the Dead Simple Signing Envelope's, protocol version 1: a signature is made over the
pre-authentication encoding of type and payload, never over JSON.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from farm.errors import StateError
from farm.model.noun import Noun

IN_TOTO = "application/vnd.in-toto+json"


class Signature(Noun, frozen=True):
    """`keyid` is the fingerprint of an OpenPGP key, `sig` its binary detached signature, base64."""

    keyid: str
    sig: str

    @property
    def binary(self) -> bytes:
        """Raises StateError when it is no base64."""
        return _decoded(self.sig, "a signature")


class Envelope(Noun, frozen=True, kw_only=True):
    """A payload (base64) of some type and who signed it."""

    payload_type: str = msgspec.field(name="payloadType")
    payload: str
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def around(cls, content: bytes, payload_type: str = IN_TOTO) -> Envelope:
        """An envelope without a signature."""
        return cls(payload_type=payload_type, payload=base64.b64encode(content).decode("ascii"))

    @property
    def content(self) -> bytes:
        """The payload's bytes. Raises StateError when it is no base64."""
        return _decoded(self.payload, "the payload of an envelope")

    @property
    def signed_bytes(self) -> bytes:
        """What a signature is made over."""
        kind, content = self.payload_type.encode(), self.content
        return b" ".join((b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(content), content))

    def signed(self, keyid: str, signature: bytes) -> Envelope:
        """With one signature more (`signature` over `signed_bytes`)."""
        more = Signature(keyid, base64.b64encode(signature).decode("ascii"))
        return msgspec.structs.replace(self, signatures=(*self.signatures, more))


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise StateError(f"{what} is not base64", why=str(error)) from error
