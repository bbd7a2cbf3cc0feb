"""The machine's own apt: where Debian's archive is, what it holds, its packages.

farm names no archive. The address is the one from which this machine gets its own packages; a
private apt root keeps suite, architecture and state apart from the host's, and apt checks the
signature of the suite with Debian's key ring. (A key ring of the release before will do: a
suite's Release file is signed with the key of the release before as well.)
"""

from __future__ import annotations

import contextlib
import fcntl
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm import run
from farm.base.archive import Deb, Index, parse_stanza
from farm.errors import CommandFailed, MachineError
from farm.store import Store, write_atomic

SUITE = "trixie"
_SUITES = (
    "oldoldstable", "oldstable", "stable", "testing", "unstable", "sid",
    "bullseye", "bookworm", "trixie", "forky", "duke",
)  # fmt: skip
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_BATCH = 60  # packages for one apt-get: the first can be converted while the next are fetched
_DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Source:
    """A binary archive that apt knows: one address with its suites and components."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def debian_arch(arch: str) -> str:
    """Debian's name of rpm's architecture. Raises MachineError for one that has no base."""
    if arch not in _DEBIAN_ARCH:
        raise MachineError(
            f"the embedded base does not exist for {arch}",
            hint=f"It is made for {' and '.join(_DEBIAN_ARCH)}.",
        )
    return _DEBIAN_ARCH[arch]


def parse_list(text: str) -> tuple[Source, ...]:
    """One-line entries (`sources.list`, `*.list`)."""
    sources = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match is None:
            continue
        signed = re.search(r"signed-by=([^\s\]]+)", match[1] or "")
        uri, suite, *components = match[2].split()
        sources.append(
            Source(uri, (suite,), tuple(components), signed[1] if signed is not None else "")
        )
    return tuple(sources)


def parse_deb822(text: str) -> tuple[Source, ...]:
    """Entries of a `*.sources` file; those switched off and source-only ones are left out."""
    sources = []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = {key.lower(): value for key, value in parse_stanza(paragraph).items()}
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            sources.append(
                Source(
                    uri,
                    tuple(fields.get("suites", "").split()),
                    tuple(fields.get("components", "").split()),
                    fields.get("signed-by", ""),
                )
            )
    return tuple(sources)


def debian_archive(sources: Iterable[Source]) -> Source:
    """The entry that is Debian's own archive. Raises MachineError when there is none.

    It is known by a plain Debian suite with the component main: security and updates have
    suites of their own, other vendors' archives have other suites or another key ring.
    """
    for source in sources:
        plain = any(suite in _SUITES for suite in source.suites)
        foreign = source.signed_by.startswith("/") and "debian" not in source.signed_by
        if plain and "main" in source.components and not foreign:
            return source
    raise MachineError(
        "apt on this machine does not know Debian's archive",
        why="The embedded base is made of Debian's packages, and farm takes the address of"
        " their archive from apt's own configuration.",
        hint="Add Debian's archive below /etc/apt/sources.list.d (suite trixie, component main,"
        " disabled by a pin if you like), or choose a release that has a base of its own.",
    )


def host_sources(etc: Path = Path("/etc/apt")) -> tuple[Source, ...]:
    """All archives in the host's apt configuration, in apt's order of files."""
    found: list[Source] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if path.suffix == ".list" and path.is_file():
            found += parse_list(path.read_text("utf-8", "replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text("utf-8", "replace"))
    return tuple(found)


class AptRoot:
    """A private apt root for one architecture: nothing of the host's state is read or changed."""

    def __init__(self, directory: Path, arch: str, source: Source) -> None:
        self.directory = directory
        self.arch = debian_arch(arch)
        self._source = source
        self._env = {"APT_CONFIG": str(directory / "apt.conf")}

    def update(self) -> Index:
        """Fetch the suite's index (only when it has changed) and check its signature.

        Raises MachineError when there is no network, no key ring, or a bad signature.
        """
        self._write()
        try:
            with self._alone():
                run.run(["apt-get", "update", "--error-on=any"], env=self._env, timeout=300)
        except CommandFailed as error:
            raise MachineError(
                f"Debian's package index ({SUITE}, {self.arch}) could not be fetched",
                why=error.why,
                hint="Check the network and the host's own `apt-get update`.",
            ) from error
        listed = run.run(
            ["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"],
            env=self._env,
        )
        return Index(Path(listed.stdout.split()[0]).read_text("utf-8"))

    def fetch(self, debs: Sequence[Deb], store: Store) -> Iterator[Deb]:
        """Bring all into the store; each is given out as soon as it is there.

        Those that the store has come first; what an interrupted fetch left is used.
        """
        waiting = self.directory / "waiting"
        waiting.mkdir(parents=True, exist_ok=True)
        missing = []
        for deb in debs:
            if deb.sha256 in store:
                yield deb
            else:
                missing.append(deb)
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            with self._alone():
                self._download([deb for deb in batch if deb.sha256 not in store], waiting, store)
            yield from batch

    def _download(self, debs: Sequence[Deb], waiting: Path, store: Store) -> None:
        if not debs:
            return
        try:
            run.run(
                ["apt-get", "download", *(f"{deb.name}={deb.version}" for deb in debs)],
                cwd=waiting,
                env=self._env,
                timeout=1800,
            )
        except CommandFailed as error:
            raise MachineError(
                f"Debian's packages ({SUITE}, {self.arch}) could not be fetched",
                why=error.why,
                hint="What has arrived is kept: run `farm base build` again.",
            ) from error
        for deb in debs:
            path = waiting / downloaded_name(deb)
            store.put(path, sha256=deb.sha256, link=True)
            path.unlink()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two of farm's processes must not write here at a time."""
        with (self.directory / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _write(self) -> None:
        keyring = next((path for path in _KEYRINGS if path.exists()), None)
        if keyring is None:
            raise MachineError(
                "Debian's key ring is not installed, so its archive cannot be trusted",
                hint="apt-get install debian-archive-keyring",
            )
        etc, state = self.directory / "etc", self.directory / "state"
        for path in (etc, state / "lists" / "partial", self.directory / "cache/archives/partial"):
            path.mkdir(parents=True, exist_ok=True)
        (self.directory / "status").touch()
        write_atomic(
            etc / "debian.sources",
            f"Types: deb\nURIs: {self._source.uri}\nSuites: {SUITE}\nComponents: main\n"
            f"Signed-By: {keyring}\n",
        )
        write_atomic(self.directory / "apt.conf", self._settings())

    def _settings(self) -> str:
        # The host's ways to the network (proxies, certificates, credentials) are kept; its hooks
        # and pins are not.
        dump = run.run(["apt-config", "dump", "Acquire"]).stdout
        return network_settings(dump) + "\n".join(
            (
                f'Dir "{self.directory}";',
                f'Dir::Etc "{self.directory}/etc";',
                f'Dir::Etc::sourceparts "{self.directory}/etc";',
                'Dir::Etc::sourcelist "none";',
                'Dir::Etc::main "none";',
                'Dir::Etc::parts "none";',
                'Dir::Etc::preferences "none";',
                'Dir::Etc::preferencesparts "none";',
                'Dir::Etc::netrc "/etc/apt/auth.conf";',
                'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";',
                f'Dir::State "{self.directory}/state";',
                f'Dir::State::status "{self.directory}/status";',
                f'Dir::Cache "{self.directory}/cache";',
                f'Dir::Log "{self.directory}/log";',
                f'APT::Architecture "{self.arch}";',
                f'APT::Architectures {{ "{self.arch}"; }};',
                'APT::Sandbox::User "";',
                'Acquire::Languages "none";',
                'Acquire::GzipIndexes "false";',
                "",
            )
        )


def network_settings(dump: str) -> str:
    """Of apt's settings those that say how to reach an archive, not what else to fetch of it."""
    others = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::GzipIndexes")
    return "".join(line + "\n" for line in dump.splitlines() if not line.startswith(others))


def downloaded_name(deb: Deb) -> str:
    """The file name that `apt-get download` uses: version with its colon escaped."""
    return f"{deb.name}_{deb.version.replace(':', '%3a')}_{deb.arch}.deb"


_ONE_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+\s+\S+.*)")
