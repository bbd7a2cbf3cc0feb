"""What is told of a run: that a build has finished, that a release points at another snapshot."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from farm.config import Config
from farm.errors import FarmError, StateError
from farm.layer.history import head
from farm.ledger import Ledger
from farm.model import Failed, Snapshot, from_json, rfc3339, to_json
from farm.progress import Emit, Event
from farm.progress.events import Quiet
from farm.publish.tree import History, Publication
from farm.steps import chroot_of, recipe_of
from farm.store import write_atomic
from farm.webhook.outbox import GONE, Message, Outbox, Post, Postman, post
from farm.webhook.signing import read_keys

_NAMED = 100  # failed packages that a message names
_WORDS = 500  # characters of a failure's message
_OUTCOMES = ("built", "kept", "failed", "skipped")


class Webhooks(Quiet):
    """Tells those at webhook.addresses. Raises ConfigError on entering when the key that messages
    are signed with is not there."""

    def __init__(
        self, config: Config, ledger: Ledger, emit: Emit, release: str, *, post: Post = post
    ) -> None:
        self._config, self._ledger, self._emit, self._release = config, ledger, emit, release
        self._settings, self._post = config.webhook, post
        outbox = config.path("state") / "outbox"
        self._outbox, self._told = Outbox(outbox), outbox / "told.json"
        self._tree = Publication(config.path("publication"))
        self._postman: Postman | None = None
        self._last: dict[str, Event] = {}  # step → the last that counts of what was said of it
        self._commit = ""

    def __enter__(self) -> Webhooks:
        if self._settings.addresses:
            keys = read_keys(self._config)
            self._postman = Postman(self._outbox, self._settings, keys, self._post)
            self._tell_published(looking=True)  # of a run that was killed before it could
            self._postman.go()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._postman is None:
            return
        for host, why in self._postman.finish(self._settings.timeout).items():
            where = f" for {host}" if host else ""
            text = f"messages{where} wait for the next run: {why}"
            if why == GONE:
                text = f"{host} wants no messages any more ({GONE}): webhook.addresses names it"
            self._emit("warning", text=text)

    def see(self, event: Event) -> None:
        if self._postman is None:
            return
        if event.state == "begun" and event.text == "build":
            self._commit = head(self._config.path("specs"))
        elif event.state == "published":
            self._tell_published()
        elif event.state == "ended" and event.text == "build":
            self._tell(f"msg_{secrets.token_hex(16)}", "build.finished", self._build(event))
        elif event.step and event.state in _OUTCOMES:
            self._last[event.step] = event

    def _tell(self, identity: str, kind: str, data: dict[str, Any]) -> None:
        assert self._postman is not None
        now = time.time()
        said = {"type": kind, "timestamp": rfc3339(now), "data": data}
        body = msgspec.json.encode(said).decode()
        self._outbox.put(Message(identity, now, body, self._settings.addresses))
        self._postman.go()

    def _tell_published(self, *, looking: bool = False) -> None:
        """Of the release's move, if that was not told before. What was there already when farm
        was first told to send messages is no news."""
        told = _read_told(self._told)
        before = told.get(self._release)
        try:
            history = self._tree.history(self._release)
            now = (history.tree, history.snapshot) if history is not None else ("", "")
            if before == now:
                return
            if history is not None and not (looking and before is None):
                self._tell(*self._move(history, before[1] if before else ""))
        except StateError as error:
            self._emit("warning", text=f"a publication is not told of: {error.what}")
            return
        write_atomic(self._told, to_json({**told, self._release: now}))

    def _move(self, now: History, before: str) -> tuple[str, str, dict[str, Any]]:
        """The message of a move, whose id follows from the move."""
        snapshot = self._tree.read(self._release, now.snapshot)
        text = f"{self._release}\n{now.tree}\n{now.snapshot}"
        identity = f"msg_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        try:
            earlier = self._tree.read(self._release, before) if before else None
        except FarmError:  # it was collected
            earlier = None
        return identity, "release.published", {
            "release": self._release,
            "snapshot": now.snapshot,
            "commit": snapshot.commit,
            "packages": len(snapshot.packages),
            "changed": changed(earlier, snapshot),
        }  # fmt: skip

    def _build(self, ended: Event) -> dict[str, Any]:
        counts = Counter[str](event.state for event in self._last.values())
        failed = [event for event in self._last.values() if event.state == "failed"]
        return {
            "release": self._release,
            "commit": self._commit,
            "result": ended.kind or ("failed" if failed else "ok"),
            "seconds": round(ended.seconds, 3),
            "counts": {state: counts[state] for state in _OUTCOMES},
            "failed": [self._failure(event) for event in failed[:_NAMED]],
        }

    def _failure(self, event: Event) -> dict[str, str]:
        attempt = self._ledger.attempt(event.attempt) if event.attempt else None
        failed = attempt.outcome if attempt is not None else None
        told = {
            "package": recipe_of(event.step),
            "arch": chroot_of(event.step).rpartition("-")[2],
            "class": event.kind,
            "message": event.text[:_WORDS],
        }
        if isinstance(failed, Failed):
            told |= {"class": failed.kind, "limit": failed.limit}
            told |= {"message": failed.message[:_WORDS]}
        return told


def changed(before: Snapshot | None, now: Snapshot) -> int:
    """How many packages are new, gone, or other than they were."""
    old, new = ({} if each is None else _packages(each) for each in (before, now))
    return len({name for name, _ in old.items() ^ new.items()})


def _packages(snapshot: Snapshot) -> dict[tuple[str, str], str]:
    packages = [signed.package for signed in snapshot.packages]
    return {(p.nevra.name, p.nevra.arch): p.sha256 for p in packages}


def _read_told(path: Path) -> dict[str, tuple[str, str]]:
    """Release → the tree and snapshot that were told of last."""
    with contextlib.suppress(FileNotFoundError, StateError):
        return from_json(dict[str, tuple[str, str]], path.read_bytes())
    return {}
