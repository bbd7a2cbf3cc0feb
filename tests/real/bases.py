"""A private copy of the embedded base that a test may change, as a mirror's owner would."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.run import run
from tests.real.site import Site


@dataclass(frozen=True)
class MovingBase:
    """One architecture of the base; its packages are links, its metadata is its own."""

    root: Path

    @classmethod
    def under(cls, site: Site, root: Path, arch: str = "x86_64") -> MovingBase:
        """Copy the base that the site's chroot names, and have the chroot name the copy."""
        cache = Path(os.environ.get("FARM_PATHS_CACHE", "~/.cache/farm")).expanduser()
        source = (cache / "base" / "debian-13" / arch).resolve()
        shutil.copytree(source, root, copy_function=os.link)
        chroot = site.root / "chroots" / f"debian-13-{arch}.cfg"
        text = chroot.read_text()
        named = f"file://{{{{ farm_base }}}}/debian-13/{arch}"
        assert named in text
        chroot.write_text(text.replace(named, root.as_uri()))
        return cls(root)

    def change(self, *replacements: tuple[str, str]) -> None:
        """Other texts in primary.xml, each of which must be there; repomd.xml follows."""
        self._rewrite("primary", replacements)

    def other_bytes(self, name: str) -> None:
        """Another checksum for a package, as if it had been built again."""
        chunk = re.search(
            rf"<name>{re.escape(name)}</name>.*?pkgid=\"YES\">([0-9a-f]+)<",
            self._text("primary"),
            re.S,
        )
        assert chunk is not None, f"the base has no package {name}"
        replaced = ((chunk[1], hashlib.sha256(chunk[1].encode()).hexdigest()),)
        for kind in ("primary", "filelists"):
            self._rewrite(kind, replaced)

    def built_again(self, name: str) -> None:
        """Other bytes for a package, file and metadata, that install as before: those of the lead,
        which rpm passes over, differ."""
        primary = self._text("primary")
        chunk = re.search(
            rf'<name>{re.escape(name)}</name>.*?pkgid="YES">([0-9a-f]+)<.*?href="([^"]+)"',
            primary,
            re.S,
        )
        assert chunk is not None, f"the base has no package {name}"
        path = self.root / chunk[2]
        content = bytearray(path.read_bytes())
        content[12] ^= 0x20
        path.unlink()  # a link to the shared base's
        path.write_bytes(content)
        replaced = ((chunk[1], hashlib.sha256(content).hexdigest()),)
        for kind in ("primary", "filelists"):
            self._rewrite(kind, replaced)

    def add(self, package: Path) -> None:
        """One package more, or another version of one."""
        shutil.copy(package, self.root / "Packages")
        run(["createrepo_c", "--quiet", "--update", "--skip-stat", "--compress-type=gz", self.root])

    def _path(self, kind: str) -> Path:
        (path,) = (self.root / "repodata").glob(f"*{kind}.xml.gz")
        return path

    def _text(self, kind: str) -> str:
        return gzip.decompress(self._path(kind).read_bytes()).decode()

    def _rewrite(self, kind: str, replacements: Sequence[tuple[str, str]]) -> None:
        text = self._text(kind)
        for old, new in replacements:
            assert old in text, f"{kind} of the base has no {old!r}"
            text = text.replace(old, new)
        packed = gzip.compress(text.encode(), mtime=0)
        name = f"{hashlib.sha256(packed).hexdigest()}-{kind}.xml.gz"
        self._path(kind).unlink()
        (self.root / "repodata" / name).write_bytes(packed)
        repomd = self.root / "repodata" / "repomd.xml"
        parts = re.split(r"(?=<data )", repomd.read_text())
        changed = [
            _data(kind, name, packed, text.encode()) + _after(part)
            if f'type="{kind}"' in part
            else part
            for part in parts
        ]
        repomd.unlink()
        repomd.write_text("".join(changed))


def _data(kind: str, name: str, packed: bytes, plain: bytes) -> str:
    return (
        f'<data type="{kind}">'
        f'<checksum type="sha256">{hashlib.sha256(packed).hexdigest()}</checksum>'
        f'<open-checksum type="sha256">{hashlib.sha256(plain).hexdigest()}</open-checksum>'
        f'<location href="repodata/{name}"/><size>{len(packed)}</size>'
        f"<open-size>{len(plain)}</open-size></data>"
    )


def _after(part: str) -> str:
    """What follows an entry of repomd.xml: the end of the document after the last one."""
    return part.partition("</data>")[2]
