"""Which key a name means, and whether it can sign."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.config import Publish
from farm.publish.keys import DEMO_FINGERPRINT, Key, parse_listing, passphrase_hint, signing_options

FINGERPRINT = "B8512281564580EA6D74480DC0C15EC6AC452A67"
KEY = Key(FINGERPRINT, ("Example HPC (packages) <pkg@example.org>", "other"), 100, 0, "rsa4096")
LISTING = f"""\
tru::1:1735689600:0:3:1:5
sec:u:4096:1:C0C15EC6AC452A67:1735689600:1800000000::u:::scSC:::+:::23::0:
fpr:::::::::{FINGERPRINT}:
grp:::::::::FEB9DCE5CFBD7848A9433137A9E2A246BDDFFDBC:
uid:u::::1735689600::9BFA::cluster (a\\x3ab):::::::::0:
pub:u:4096:1:AAAAAAAAAAAAAAAA:1735689600:::u:::scSC::::::23::0:
fpr:::::::::AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA:
uid:u::::1735689600::9BFA::only public:::::::::0:
sec:r:2048:1:BBBBBBBBBBBBBBBB:1735689600:::u:::cC:::#:::23::0:
fpr:::::::::BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB:
uid:r::::1735689600::9BFA::gone:::::::::0:
"""


@pytest.mark.parametrize(
    "wanted",
    [
        "Example HPC",
        "Example HPC (packages) <pkg@example.org>",
        "pkg@example.org",
        "other",
        FINGERPRINT,
        FINGERPRINT.lower(),
        "0xC0C15EC6AC452A67",
        "C0C1 5EC6 AC45 2A67",
    ],
)
def test_a_key_answers_to_its_name_address_and_fingerprint(wanted: str) -> None:
    assert KEY.answers_to(wanted)


@pytest.mark.parametrize("wanted", ["", "Example", "example.org", "AC452A67", "hpc"])
def test_a_key_does_not_answer_to_a_part_of_its_name(wanted: str) -> None:
    assert not KEY.answers_to(wanted)


def test_only_secret_keys_of_a_listing_are_keys() -> None:
    first, second = parse_listing(LISTING)
    assert (first.name, first.user_ids, first.fingerprint) == (
        "cluster",
        ("cluster (a:b)",),
        FINGERPRINT,
    )
    assert (first.created, first.expires, first.algorithm) == (1735689600, 1800000000, "rsa4096")
    assert second.revoked
    assert not second.signs_itself
    assert not second.complete


def test_an_expired_revoked_or_absent_key_says_why_it_cannot_sign() -> None:
    assert KEY.unusable_because(now=10**9) == ""
    assert "2001" in replace(KEY, expires=10**9).unusable_because(now=10**9)
    assert "revoked" in replace(KEY, revoked=True).unusable_because(now=0)
    assert "secret half" in replace(KEY, complete=False).unusable_because(now=0)


def test_gpg_is_told_the_very_key_unless_only_a_subkey_can_sign() -> None:
    assert KEY.user == f"{FINGERPRINT}!"
    assert replace(KEY, signs_itself=False).user == FINGERPRINT


def test_a_signature_is_dated_as_asked_and_frozen_there() -> None:
    assert "20231114T221320!" in signing_options(1_700_000_000)


def test_a_locked_key_is_explained() -> None:
    assert "passphrase" in passphrase_hint("gpg: signing failed: No pinentry")
    assert "passphrase" not in passphrase_hint("gpg: signing failed: No space left on device")


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("farm-demo", "RPM-GPG-KEY-farm-demo"),
        ("Example HPC <pkg@example.org>", "RPM-GPG-KEY-Example-HPC-pkg-example.org"),
        ("../..", "RPM-GPG-KEY-farm"),
    ],
)
def test_the_public_key_lies_under_a_plain_file_name(key: str, file: str) -> None:
    assert Publish(key=key).key_file == file


def test_only_the_committed_key_is_the_demo_key() -> None:
    assert not KEY.is_demo
    assert replace(KEY, fingerprint=DEMO_FINGERPRINT).is_demo
