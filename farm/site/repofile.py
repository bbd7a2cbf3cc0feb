"""The `.repo` file: the lines a site pastes, and what the release package installs."""

from __future__ import annotations

from collections.abc import Sequence

from farm.config import Config


def repo_file(
    config: Config,
    release: str,
    *,
    gpgkey: str = "",
    address: str = "",
    architecture: str = "$basearch",
) -> str:
    """The text of farm's `.repo` file for a release.

    The mirrorlist names the immutable tree that the release is at, so that metadata, signature
    and packages always belong together. `gpgkey` is where the site finds the key
    (the published one when not given: a release package names its own file instead);
    `address` replaces the configured one. Raises ConfigError for an unknown release.
    """
    name, chosen = config.release(release)
    base = (address or config.publish.address).rstrip("/")
    key = gpgkey or f"{base}/{config.publish.key_file}"
    title = chosen.title or f"Cluster software for {name}"
    sections = [("", f"{architecture}", title, 1), ("-source", "source", f"{title}: sources", 0)]
    if config.publish.debug_packages:
        sections.insert(1, ("-debug", f"{architecture}/debug", f"{title}: debug packages", 0))
    return "\n".join(
        _section(f"farm-{name}{suffix}", text, f"{base}/{name}/{place}/mirrorlist", enabled, key)
        for suffix, place, text, enabled in sections
    )


def repo_file_name(release: str) -> str:
    """Where the `.repo` file lies below the address, and what it is called on a site."""
    return f"farm-{release}.repo"


def paste_lines(config: Config, release: str, packages: Sequence[str]) -> tuple[str, ...]:
    """The commands with which a site begins. Raises ConfigError for an unknown release."""
    name, _ = config.release(release)
    file = repo_file_name(name)
    return (
        f"curl -o /etc/yum.repos.d/{file} {config.publish.address.rstrip('/')}/{file}",
        f"dnf install {' '.join(packages)}",
    )


def _section(id: str, title: str, mirrorlist: str, enabled: int, key: str) -> str:
    return (
        f"[{id}]\n"
        f"name={title}\n"
        f"mirrorlist={mirrorlist}\n"
        f"enabled={enabled}\n"
        "gpgcheck=1\n"
        "repo_gpgcheck=1\n"
        f"gpgkey={key}\n"
        "metadata_expire=1h\n"
    )
