"""Messages are signed, reach whoever asked for them at least once, and never hold up a run."""

from __future__ import annotations

import base64
import hashlib
import json
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm.audience import audience
from farm.config import Config, Paths, ReleaseConfig, Webhook
from farm.errors import ConfigError
from farm.ledger import Ledger, coordinator
from farm.model import Failed, Nevra, Package, SignedPackage, Snapshot, to_json
from farm.progress import Event
from farm.publish.tree import History
from farm.webhook import outbox as sending
from farm.webhook.outbox import Message, NotWanted, Outbox
from farm.webhook.signing import read_keys, signatures
from farm.webhook.watcher import Webhooks, changed
from tests.receivers import KEY, SECRET, Receiver

OLD_KEY = bytes(range(24, 56))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def config(tmp_path: Path, receiver: Receiver) -> Config:
    (tmp_path / "specs").mkdir()
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return Config(
        root=tmp_path,
        paths=Paths(cache=str(tmp_path / "cache")),
        webhook=Webhook(addresses=(receiver.address,), secret_file="secret", timeout=5),
        default_release="d",
        releases={"d": ReleaseConfig(architectures=("x86_64",))},
    )


@pytest.fixture
def ledger(config: Config) -> Iterator[Ledger]:
    with coordinator(config.path("state")) as ledger:
        yield ledger


class Told:
    """What a run's user heard."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def emit(self, state: str, step: str = "", **fields: Any) -> None:
        if state == "warning":
            self.warnings.append(fields["text"])


def ran(config: Config, ledger: Ledger, *events: Event, verb: str = "build") -> list[str]:
    """One run with these events; the warnings that it gave."""
    told = Told()
    with Webhooks(config, ledger, told.emit, "d") as hooks:
        hooks.see(Event(time.time(), "begun", text=verb, release="d"))
        for event in events:
            hooks.see(event)
        hooks.see(Event(time.time(), "ended", text=verb, release="d", seconds=12.5))
    return told.warnings


def waiting(config: Config) -> list[Message]:
    return list(Outbox(config.path("state") / "outbox").waiting())


def publish(config: Config, tree: str, snapshot: str, *packages: str) -> None:
    """What `farm publish` leaves, as far as messages tell of it."""
    root = config.path("publication")
    directory = root / "snapshots" / "d" / snapshot
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "snapshot.json").write_bytes(to_json(snapshot_of(snapshot, *packages)))
    (root / "trees" / tree).mkdir(parents=True)
    history = History(tree, snapshot, 1, "http://x")
    (root / "trees" / tree / "history.json").write_bytes(to_json(history))
    (root / "d").unlink(missing_ok=True)
    (root / "d").symlink_to(f"trees/{tree}")


def snapshot_of(name: str, *packages: str) -> Snapshot:
    signed = []
    for text in packages:
        name_, _, version = text.partition("=")
        nevra = Nevra(name_, 0, version, "1", "x86_64")
        package = Package(nevra, hashlib.sha256(text.encode()).hexdigest(), 1, name_)
        signed.append(SignedPackage(package, "0" * 64, 1, "key"))
    return Snapshot(name, "d", 1, "c0ffee", tuple(signed))


def test_a_finished_build_is_told_with_its_failures(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    ledger.begin("a1", "tiny@d-x86_64", "k")
    ledger.end("a1", Failed("limit", "tiny took more than 1 GiB", limit="memory"))
    step = "tiny@d-x86_64"
    warnings = ran(
        config, ledger,
        Event(1, "queued", step=step),
        Event(2, "running", step=step, attempt="a1"),
        Event(3, "failed", step=step, text="tiny took…", kind="limit", attempt="a1"),
        Event(3, "kept", step="a@d-x86_64"),
        Event(4, "built", step="b@d-x86_64"),
        Event(4, "failed", step="c@d-x86_64", text="no lock", kind="package"),
        Event(4, "skipped", step="e@d-x86_64", text="tiny failed"),
    )  # fmt: skip
    assert warnings == []
    ((headers, message),) = receiver.taken
    assert headers["content-type"] == "application/json"
    assert message["type"] == "build.finished"
    assert message["data"] == {
        "release": "d",
        "commit": "",
        "result": "failed",
        "seconds": 12.5,
        "counts": {"built": 1, "kept": 1, "failed": 2, "skipped": 1},
        "failed": [
            {
                "package": "tiny", "arch": "x86_64", "class": "limit", "limit": "memory",
                "message": "tiny took more than 1 GiB",
            },
            {"package": "c", "arch": "x86_64", "class": "package", "message": "no lock"},
        ],
    }  # fmt: skip
    assert waiting(config) == []


def test_a_step_that_succeeds_in_the_end_has_not_failed(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    step = "tiny@d-x86_64"
    ran(config, ledger, Event(1, "failed", step=step), Event(2, "built", step=step))
    assert receiver.taken[0][1]["data"]["counts"] == {
        "built": 1, "kept": 0, "failed": 0, "skipped": 0,
    }  # fmt: skip
    assert receiver.taken[0][1]["data"]["result"] == "ok"


def test_a_publication_is_told_with_how_much_changed(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    ran(config, ledger, verb="publish")  # nothing is published yet
    publish(config, "t1", "s1", "a=1", "b=1", "c=1")
    ran(config, ledger, Event(1, "published", text="s1", release="d"), verb="publish")
    publish(config, "t2", "s2", "a=2", "b=1", "e=1")
    ran(config, ledger, Event(1, "published", text="s2", release="d"), verb="publish")
    assert receiver.types == ["release.published"] * 2
    assert [message["data"] for _, message in receiver.taken] == [
        {"release": "d", "snapshot": "s1", "commit": "c0ffee", "packages": 3, "changed": 3},
        {"release": "d", "snapshot": "s2", "commit": "c0ffee", "packages": 3, "changed": 3},
    ]


def test_a_publication_whose_farm_was_killed_is_told_by_the_next_run_once(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    ran(config, ledger)
    publish(config, "t1", "s1", "a=1")  # the pointer moved; nobody lived to tell
    ran(config, ledger)
    ran(config, ledger, Event(1, "published", text="s1", release="d"), verb="publish")
    assert receiver.types.count("release.published") == 1


def test_the_same_publication_has_the_same_id_whoever_tells_it(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    ran(config, ledger)
    publish(config, "t1", "s1", "a=1")
    ran(config, ledger)
    (config.path("state") / "outbox" / "told.json").write_bytes(b'{"d":["",""]}')  # killed before
    ran(config, ledger)
    told = [headers["webhook-id"] for headers, m in receiver.taken if "release" in m["type"]]
    assert len(told) == 2
    assert len(set(told)) == 1


def test_what_was_published_before_messages_were_wanted_is_no_news(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    publish(config, "t1", "s1", "a=1")
    ran(config, ledger)
    assert receiver.types == ["build.finished"]


def test_a_message_that_nobody_took_is_sent_by_the_next_run_with_the_same_id(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    receiver.status = 503
    (warning,) = ran(config, ledger)
    assert warning == "messages for 127.0.0.1 wait for the next run: it answered 503"
    (message,) = waiting(config)
    receiver.status = 200
    assert ran(config, ledger) == []
    assert receiver.types == ["build.finished"] * 2
    first, second = (headers["webhook-id"] for headers, _ in receiver.taken)
    assert first == message.id != second
    assert waiting(config) == []


def test_a_message_of_a_farm_that_was_killed_is_delivered(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    body = json.dumps({"type": "build.finished", "data": {"from": "before"}})
    outbox = Outbox(config.path("state") / "outbox")
    outbox.put(Message("msg_killed", time.time(), body, (receiver.address,)))
    ran(config, ledger, verb="publish")
    assert [headers["webhook-id"] for headers, _ in receiver.taken] == ["msg_killed"]


def test_a_receiver_that_hangs_costs_a_run_no_more_than_the_time_out(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    settings = msgspec.structs.replace(config.webhook, timeout=1)
    config = msgspec.structs.replace(config, webhook=settings)
    receiver.delay = 30.0
    for number in range(5):  # and a few of earlier runs
        Outbox(config.path("state") / "outbox").put(
            Message(f"msg_{number}", time.time(), "{}", (receiver.address,))
        )
    started = time.monotonic()
    warnings = ran(config, ledger)
    assert time.monotonic() - started < 4.0
    assert warnings
    assert len(waiting(config)) == 6


def test_who_is_down_does_not_keep_others_from_hearing(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    nobody = "http://127.0.0.1:9/down"
    settings = msgspec.structs.replace(config.webhook, addresses=(nobody, receiver.address))
    config = msgspec.structs.replace(config, webhook=settings)
    assert "refused" in ran(config, ledger)[0]
    assert receiver.types == ["build.finished"]
    (message,) = waiting(config)
    assert message.addresses == (nobody,)


def test_a_redirect_is_not_followed(config: Config, ledger: Ledger, receiver: Receiver) -> None:
    other = Receiver()
    receiver.status, receiver.headers = 307, {"Location": other.address}
    assert "it answered 307, a redirect" in ran(config, ledger)[0]
    assert other.taken == []
    other.close()


def test_a_receiver_that_wants_no_more_gets_no_more(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    for number in range(3):  # of earlier runs
        Outbox(config.path("state") / "outbox").put(
            Message(f"msg_{number}", time.time(), "{}", (receiver.address,))
        )
    receiver.status = 410
    (told,) = ran(config, ledger)
    assert told == "127.0.0.1 wants no messages any more (410): webhook.addresses names it"
    assert waiting(config) == []


def test_an_address_that_was_taken_out_of_the_configuration_hears_nothing(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    gone = "http://127.0.0.1:9/nobody"
    Outbox(config.path("state") / "outbox").put(Message("msg_1", time.time(), "{}", (gone,)))
    assert ran(config, ledger) == []
    assert waiting(config) == []


def test_the_outbox_forgets_what_is_old_and_what_is_too_much(tmp_path: Path) -> None:
    outbox, now = Outbox(tmp_path), time.time()
    outbox.put(Message("msg_old", now - 8 * 86400, "{}", ("http://x",)))
    for number in range(205):
        outbox.put(Message(f"msg_{number:03}", now + number, "{}", ("http://x",)))
    assert [message.id for message in outbox.waiting()] == [f"msg_{n:03}" for n in range(5, 205)]
    assert len(list(tmp_path.glob("msg_*"))) == 200


def test_a_damaged_message_keeps_no_other_from_being_sent(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    outbox = config.path("state") / "outbox"
    outbox.mkdir(parents=True)
    (outbox / "msg_0.json").write_bytes(b"\0\0\0")
    (outbox / "told.json").write_bytes(b"\0")
    assert ran(config, ledger) == []
    assert receiver.types == ["build.finished"]


def test_nobody_is_asked_where_no_addresses_are_configured(config: Config, ledger: Ledger) -> None:
    config = msgspec.structs.replace(config, webhook=Webhook())
    before = threading.active_count()
    assert ran(config, ledger) == []
    assert threading.active_count() == before
    assert not (config.path("state") / "outbox").exists()


@pytest.mark.parametrize(
    "content", ["", "c2VjcmV0", "whsec_AAAA", "whsec_!!!!", "whsec_\xe4", None]
)
def test_a_secret_that_is_none_is_told_without_showing_it(
    config: Config, content: str | None
) -> None:
    path = config.root / "secret"
    path.unlink()
    if content is not None:
        path.write_text(content, "latin-1")
    with pytest.raises(ConfigError) as caught:
        read_keys(config)
    assert not content or content not in str(caught.value)


def test_messages_without_a_secret_leave_the_run_alone(config: Config, ledger: Ledger) -> None:
    config = msgspec.structs.replace(
        config, webhook=msgspec.structs.replace(config.webhook, secret_file="")
    )
    told = Told()
    with audience(config, ledger, told.emit, verb="build", release="d") as tell:
        tell("queued", "tiny@d-x86_64")
    assert [warning for warning in told.warnings if "webhook" in warning]


def test_warnings_name_nobodys_token(
    config: Config, ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (ValueError(receiver.address), OSError(receiver.address), NotWanted()):
        told = Told()

        def failing(*args: object, error: Exception = error) -> None:
            raise error

        with Webhooks(config, ledger, told.emit, "d", post=failing) as hooks:
            hooks.see(Event(1, "ended", text="build"))
        assert told.warnings
        assert not [text for text in told.warnings if "t0ken" in text or SECRET in text]


def test_two_keys_give_two_signatures_so_that_receivers_can_change_over(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    old = "whsec_" + base64.b64encode(OLD_KEY).decode()
    (config.root / "secret").write_text(f"{old}\n{SECRET}\n")
    assert ran(config, ledger) == []  # the receiver knows the second
    assert len(receiver.taken[0][0]["webhook-signature"].split()) == 2


def test_signatures_are_those_of_the_scheme() -> None:
    """Computed with another implementation: openssl dgst -sha256 -mac HMAC."""
    body = b'{"type":"build.finished"}'
    assert signatures((KEY,), "msg_1", 1700000000, body) == (
        "v1,Y9iL720ah9TalnjDa1MZMQh/WLLShis8mNYT+go7420="
    )


def test_only_http_is_spoken(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(ValueError, match="neither"):
        sending.post((tmp_path / "x").as_uri(), b"{}", {}, 1.0)


def test_changes_are_counted_by_package() -> None:
    before, now = snapshot_of("s1", "a=1", "b=1"), snapshot_of("s2", "a=2", "b=1", "c=1")
    assert (changed(None, before), changed(before, now), changed(now, now)) == (2, 2, 0)


def test_a_run_tells_through_its_audience(
    config: Config, ledger: Ledger, receiver: Receiver
) -> None:
    emit: Callable[..., None] = Told().emit
    with audience(config, ledger, emit, verb="build", release="d") as tell:
        tell("built", "tiny@d-x86_64", seconds=1.0)
    assert receiver.types == ["build.finished"]
    assert receiver.taken[0][1]["data"]["counts"]["built"] == 1


def test_the_receiver_in_the_documentation_knows_what_is_genuine() -> None:
    text = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    start = text.index("    import base64, hashlib, hmac, time")
    code = textwrap.dedent(text[start : text.index("\nTo change the secret")])
    assert len(code.splitlines()) <= 10
    room: dict[str, Any] = {}
    exec(code, room)
    body, now = b'{"type":"build.finished"}', int(time.time())

    def headers(sent: int) -> dict[str, str]:
        given = signatures((OLD_KEY, KEY), "msg_1", sent, body)
        return {
            "webhook-id": "msg_1", "webhook-timestamp": str(sent), "webhook-signature": given,
        }  # fmt: skip

    is_genuine = room["is_genuine"]
    assert is_genuine(headers(now), body, SECRET)
    assert not is_genuine(headers(now), body + b" ", SECRET)
    assert not is_genuine(headers(now - 3600), body, SECRET)
    assert not is_genuine({**headers(now), "webhook-id": "msg_2"}, body, SECRET)
    assert not is_genuine(headers(now), body, "whsec_" + base64.b64encode(bytes(32)).decode())
