"""A publication in a temporary directory, for the tests that need a real one."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from farm.config import Config, Publish
from farm.model import Chroot, Group, Result
from farm.publish.keys import key_ring
from farm.publish.snapshot import Published, publish
from farm.site.repofile import repo_file
from farm.store import Store
from tests.rpms import Spec, build_everywhere

DEMO_KEY = Path(__file__).parents[2] / "ci" / "demo-key" / "farm-demo.asc"
ARCHS = ("x86_64", "aarch64")
GROUPS = (Group("cluster", "Cluster", "What a node wants", "1", ("hello",), metapackage=False),)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Place:
    """State, store and publication root below one directory; publishes what it is told."""

    home: Path
    port: int = field(default_factory=free_port)
    grace_hours: int = 24
    key: str = "farm-demo"
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.store = Store(self.home / "store")
        self.state = self.home / "state"
        self.root = self.home / "repo"
        self.clock = int(time.time())
        with key_ring(self.state) as ring:
            ring.import_file(DEMO_KEY)

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def config(self) -> Config:
        return Config(
            publish=Publish(address=self.address, key=self.key, grace_hours=self.grace_hours)
        )

    def built(self, name: str, version: str = "1.0", **options: object) -> dict[str, Result]:
        """A package built for every architecture."""
        spec = Spec(name, version=version, **options)  # type: ignore[arg-type]
        return build_everywhere(self.home / "built", spec, self.store, ARCHS)

    def publish(
        self, *packages: Mapping[str, Result], groups: Sequence[Group] = GROUPS
    ) -> Published:
        """Publish these; every call is an hour later than the one before."""
        self.clock += 3600
        return publish(
            self.root,
            self.state,
            release="debian-13",
            results={arch: [p[arch] for p in packages if arch in p] for arch in ARCHS},
            store=self.store,
            groups=groups,
            settings=self.config.publish,
            created=self.clock,
            commit="c" * 40,
        )

    @property
    def repo_text(self) -> str:
        """The site's `.repo` file."""
        return repo_file(self.config, "debian-13")


def chroot(arch: str = "x86_64") -> Chroot:
    """A release without base repositories."""
    return Chroot(f"debian-13-{arch}", "debian-13", arch, (), (), ".deb13")
