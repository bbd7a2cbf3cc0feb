"""The build user's rpm macros: the same for every builder, or their results would differ."""

from __future__ import annotations

from farm.model import Chroot

TOPDIR = "/builddir/build"
BUILD_HOST = "farm"

# All of them are needed for the same bytes twice; rpm 4.18 and 4.20 name the clamp differently.
_REPRODUCIBLE = (
    ("use_source_date_epoch_as_buildtime", "1"),
    ("source_date_epoch_from_changelog", "1"),
    ("clamp_mtime_to_source_date_epoch", "1"),
    ("build_mtime_policy", "clamp_to_source_date_epoch"),
    ("_buildhost", BUILD_HOST),
    # the build user has another number where mock builds, and it would be in the source package
    ("_srcdefattr", "(-,root,root)"),
)

# mock's own way: what the root's /etc/profile sets (PATH, `module`) is part of the result.
SHELL = ("/bin/bash", "--login", "-c")


def macros(chroot: Chroot, dist: str, cpus: int) -> tuple[tuple[str, str], ...]:
    """(name, value) of every macro that farm sets; `dist` has the rebuild counter in it."""
    conditions = [(f"_with_{name}", f"--with-{name}") for name in chroot.with_options]
    conditions += [(f"_without_{name}", f"--without-{name}") for name in chroot.without_options]
    return (
        ("_topdir", TOPDIR),
        ("_rpmfilename", "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"),
        *chroot.macros,
        *conditions,
        *_REPRODUCIBLE,
        ("dist", dist),
        ("_smp_build_ncpus", str(cpus)),
        ("_smp_mflags", f"-j{cpus}"),
    )


def rpmmacros(chroot: Chroot, dist: str, cpus: int) -> str:
    """The text of ~/.rpmmacros."""
    lines = []
    for name, value in macros(chroot, dist, cpus):
        text = value.replace("\n", "\\\n")
        lines.append(f"%{name} {text or '%{nil}'}")
    return "\n".join(lines) + "\n"
