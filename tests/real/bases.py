"""A private copy of the embedded base that a test may change, as a mirror's owner would."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

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
        repodata = self.root / "repodata"
        (path,) = repodata.glob("*primary.xml.gz")
        text = gzip.decompress(path.read_bytes()).decode()
        for old, new in replacements:
            assert old in text, f"the base has no {old!r}"
            text = text.replace(old, new)
        packed = gzip.compress(text.encode(), mtime=0)
        digest = hashlib.sha256(packed).hexdigest()
        path.unlink()
        (repodata / f"{digest}-primary.xml.gz").write_bytes(packed)
        repomd = repodata / "repomd.xml"
        parts = re.split(r"(?=<data )", repomd.read_text())
        changed = [
            self._data(digest, len(packed), text) if 'type="primary"' in part else part
            for part in parts
        ]
        repomd.unlink()
        repomd.write_text("".join(changed))

    def _data(self, digest: str, size: int, text: str) -> str:
        opened = hashlib.sha256(text.encode()).hexdigest()
        return (
            f'<data type="primary"><checksum type="sha256">{digest}</checksum>'
            f'<open-checksum type="sha256">{opened}</open-checksum>'
            f'<location href="repodata/{digest}-primary.xml.gz"/><size>{size}</size>'
            f"<open-size>{len(text.encode())}</open-size></data>\n"
        )
