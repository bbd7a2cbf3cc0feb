"""Signing keys and signatures of base repositories that are none, with the real gpg and rpmkeys."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import RepositoryError
from farm.plan.metadata.gpg import unsigned_packages
from farm.plan.metadata.repodata import fetch_pin
from tests.hostile import document, package, repodata
from tests.repositories import repository

pytestmark = pytest.mark.real

ARMOUR = b"-----BEGIN PGP {0}-----\n\nmQ==\n-----END PGP {0}-----\n"
KEYS = (b"", b"no key", ARMOUR.replace(b"{0}", b"PUBLIC KEY BLOCK"), bytes(100_000))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("signature", [b"", b"none", ARMOUR.replace(b"{0}", b"SIGNATURE")])
def test_metadata_with_a_key_or_signature_that_is_none_is_refused(
    tmp_path: Path, key: bytes, signature: bytes
) -> None:
    (tmp_path / "key").write_bytes(key)
    base = repodata(tmp_path / "base", {"primary": document(package("a"))})
    (base / "repodata/repomd.xml.asc").write_bytes(signature)
    signed = repository(base, repo_gpgcheck=True, gpgkeys=((tmp_path / "key").as_uri(),))
    with pytest.raises(RepositoryError) as caught:
        fetch_pin(signed, tmp_path / "pin")
    assert "repomd.xml is not signed as it should be" in caught.value.why


@pytest.mark.parametrize("key", KEYS)
def test_packages_are_not_checked_with_a_key_that_is_none(tmp_path: Path, key: bytes) -> None:
    (tmp_path / "key").write_bytes(key)
    (tmp_path / "a.rpm").write_bytes(b"no package")
    checked = repository(tmp_path, gpgcheck=True, gpgkeys=((tmp_path / "key").as_uri(),))
    with pytest.raises(RepositoryError, match="a signing key of repository 'base' cannot be read"):
        unsigned_packages(checked, [tmp_path / "a.rpm"])


def test_a_key_beyond_measure_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(5 << 20))
    checked = repository(tmp_path, gpgcheck=True, gpgkeys=((tmp_path / "key").as_uri(),))
    with pytest.raises(RepositoryError, match="larger than the 4194304 bytes"):
        unsigned_packages(checked, [tmp_path / "a.rpm"])
