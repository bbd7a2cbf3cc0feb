"""What a build root can be made to differ in on purpose, and what each takes of a sandbox.

Lock and key stay the same: whoever builds the same again finds another clock, another host and
another disk, too. Names and values only; nothing happens here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.errors import UsageError
from farm.sandbox.script import BUILDER, User

DAYS = 400  # by which the clock is ahead
HOST = "another-host.example.org"
OTHER_BUILDER = User(871, 872)  # below 1000: the smallest range of subordinate ids has them
LOCALE = "et_EE.UTF-8"  # decimal comma, words of its own, and z comes before t
TIME_ZONE = "FRM-13:45"  # in POSIX form: it needs no data
DIRECTORY = "/builddir"  # what lies on another file system
RELEASE, VERSION = "5.14.0-farm.400", "#400 SMP Mon Jan 1 00:00:00 UTC 2001"
_MORE_PATH = "/opt/another/bin"

# The build must not need any of these, and nothing that would change a result rightly is here.
_ENVIRONMENT = {
    "USER": "another",
    "LOGNAME": "another",
    "MAIL": "/var/mail/another",
    "TERM": "xterm-256color",
    "EDITOR": "vi",
    "PAGER": "cat",
    "DISPLAY": ":42",
    "XDG_RUNTIME_DIR": "/run/user/another",
    "FARM_CAPTURED_THE_ENVIRONMENT": "i capture the environment",
}


@dataclass(frozen=True)
class Variation:
    """One thing that differs; `meaning` completes "built with …"."""

    name: str
    meaning: str


VARIATIONS = (
    Variation("clock", f"the clock {DAYS} days ahead, times of new files included"),
    Variation("hostname", f"the host name {HOST}"),
    Variation("cores", "one processor to see, and another -j"),
    Variation("ids", f"the user and group ids {OTHER_BUILDER.uid} and {OTHER_BUILDER.gid}"),
    Variation("umask", "the umask 0077 where rpmbuild starts"),
    Variation("locale", f"the locale {LOCALE} and a time zone 13:45 hours east"),
    Variation("environment", "other and additional environment variables, one more PATH entry"),
    Variation("kernel", f"a kernel that calls itself {RELEASE}"),
    Variation("order", "every directory listed in the opposite order"),
    Variation("filesystem", "the build directory on a tmpfs of its own, not on an overlay"),
    Variation("roots", "a root of its own whose packages were installed in another order"),
)
NAMES = tuple(variation.name for variation in VARIATIONS)

# Libraries that are preloaded, by variation, and where their sources are.
SOURCES = Path(__file__).parent / "data"
PRELOADED = ("clock", "kernel", "order")


@dataclass(frozen=True)
class Differences:
    """What a set of variations asks of whoever makes sandbox and root.

    `environment` replaces variables, `exports` are shell lines for the build user once a login
    shell has set its own. `preloads` name the libraries that every program is to load.
    """

    user: User = BUILDER
    hostname: str = "localhost"
    umask: str = "022"
    one_core: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    exports: tuple[str, ...] = ()
    preloads: tuple[str, ...] = ()
    kernel: bool = False
    locale: str = ""
    memory_directory: str = ""
    own_roots: bool = False

    def cpus(self, usual: int) -> int:
        """For `-j`, where it is `usual` otherwise."""
        return usual if not self.one_core else 1 if usual > 1 else 2


def known(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the order of `VARIATIONS`, each once. Raises UsageError for one unknown."""
    wanted = tuple(names)
    for name in wanted:
        if name not in NAMES:
            import difflib  # noqa: PLC0415 - a worker starts without

            close = difflib.get_close_matches(name, NAMES, 1)
            raise UsageError(
                f"no variation is called {name!r}",
                why=f"farm knows: {', '.join(NAMES)}",
                hint=f"Perhaps you meant {close[0]}." if close else "",
            )
    return tuple(name for name in NAMES if name in wanted)


def differences(names: Iterable[str]) -> Differences:
    """What these variations take together. Raises UsageError for an unknown name."""
    chosen = known(names)
    environment: dict[str, str] = {}
    exports: tuple[str, ...] = ()
    if "environment" in chosen:
        environment |= _ENVIRONMENT
        exports += (f"export PATH=$PATH:{_MORE_PATH}",)
    if "locale" in chosen:
        environment |= {"LANG": LOCALE, "LC_ALL": LOCALE, "TZ": TIME_ZONE}
    if "hostname" in chosen:
        environment |= {"HOSTNAME": HOST}
    return Differences(
        user=OTHER_BUILDER if "ids" in chosen else BUILDER,
        hostname=HOST if "hostname" in chosen else "localhost",
        umask="077" if "umask" in chosen else "022",
        one_core="cores" in chosen,
        environment=environment,
        exports=exports,
        preloads=tuple(name for name in PRELOADED if name in chosen),
        kernel="kernel" in chosen,
        locale=LOCALE if "locale" in chosen else "",
        memory_directory=DIRECTORY if "filesystem" in chosen else "",
        own_roots="roots" in chosen,
    )
