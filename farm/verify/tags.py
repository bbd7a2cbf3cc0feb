"""Names of an RPM header's tags, for people."""

from __future__ import annotations

from farm.rpmheader import Value

NAMES = {
    63: "HEADERIMMUTABLE", 100: "HEADERI18NTABLE", 1000: "NAME", 1001: "VERSION",
    1002: "RELEASE", 1003: "EPOCH", 1004: "SUMMARY", 1005: "DESCRIPTION", 1006: "BUILDTIME",
    1007: "BUILDHOST", 1009: "SIZE", 1010: "DISTRIBUTION", 1011: "VENDOR", 1014: "LICENSE",
    1015: "PACKAGER", 1016: "GROUP", 1018: "SOURCE", 1019: "PATCH", 1020: "URL", 1021: "OS",
    1022: "ARCH", 1023: "PREIN", 1024: "POSTIN", 1025: "PREUN", 1026: "POSTUN",
    1028: "FILESIZES", 1030: "FILEMODES", 1033: "FILERDEVS", 1034: "FILEMTIMES",
    1035: "FILEDIGESTS", 1036: "FILELINKTOS", 1037: "FILEFLAGS", 1039: "FILEUSERNAME",
    1040: "FILEGROUPNAME", 1044: "SOURCERPM", 1045: "FILEVERIFYFLAGS", 1046: "ARCHIVESIZE",
    1047: "PROVIDENAME", 1048: "REQUIREFLAGS", 1049: "REQUIRENAME", 1050: "REQUIREVERSION",
    1053: "CONFLICTFLAGS", 1054: "CONFLICTNAME", 1055: "CONFLICTVERSION",
    1059: "EXCLUDEARCH", 1061: "EXCLUSIVEARCH", 1064: "RPMVERSION", 1065: "TRIGGERSCRIPTS",
    1066: "TRIGGERNAME", 1067: "TRIGGERVERSION", 1068: "TRIGGERFLAGS", 1069: "TRIGGERINDEX",
    1079: "VERIFYSCRIPT", 1080: "CHANGELOGTIME", 1081: "CHANGELOGNAME", 1082: "CHANGELOGTEXT",
    1085: "PREINPROG", 1086: "POSTINPROG", 1087: "PREUNPROG", 1088: "POSTUNPROG",
    1089: "BUILDARCHS", 1090: "OBSOLETENAME", 1094: "COOKIE", 1095: "FILEDEVICES",
    1096: "FILEINODES", 1097: "FILELANGS", 1098: "PREFIXES", 1112: "PROVIDEFLAGS",
    1113: "PROVIDEVERSION", 1114: "OBSOLETEFLAGS", 1115: "OBSOLETEVERSION",
    1116: "DIRINDEXES", 1117: "BASENAMES", 1118: "DIRNAMES", 1122: "OPTFLAGS", 1123: "DISTURL",
    1124: "PAYLOADFORMAT", 1125: "PAYLOADCOMPRESSOR", 1126: "PAYLOADFLAGS", 1132: "PLATFORM",
    1140: "FILECOLORS", 1141: "FILECLASS", 1142: "CLASSDICT", 1143: "FILEDEPENDSX",
    1144: "FILEDEPENDSN", 1145: "DEPENDSDICT", 1146: "SOURCEPKGID", 1151: "PRETRANS",
    1152: "POSTTRANS", 5008: "LONGFILESIZES", 5009: "LONGSIZE", 5010: "FILECAPS",
    5011: "FILEDIGESTALGO", 5012: "BUGURL", 5034: "VCS", 5046: "RECOMMENDNAME",
    5047: "RECOMMENDVERSION", 5048: "RECOMMENDFLAGS", 5049: "SUGGESTNAME",
    5052: "SUPPLEMENTNAME", 5055: "ENHANCENAME", 5062: "ENCODING", 5066: "FILETRIGGERIN",
    5069: "FILETRIGGERSCRIPTS", 5092: "PAYLOADDIGEST", 5093: "PAYLOADDIGESTALGO",
    5094: "AUTOINSTALLED", 5095: "IDENTITY", 5096: "MODULARITYLABEL", 5097: "PAYLOADDIGESTALT",
    5098: "ARCHSUFFIX", 5099: "SPEC", 5100: "TRANSLATIONURL", 5101: "UPSTREAMRELEASES",
    5112: "PAYLOADSIZE", 5113: "PAYLOADSIZEALT", 5114: "RPMFORMAT",
}  # fmt: skip

# Told file by file, or following from what is told: sizes and checksums.
OF_FILES = frozenset({
    1009, 1028, 1030, 1033, 1034, 1035, 1036, 1037, 1039, 1040, 1045, 1046, 1097, 1116, 1117,
    1118, 5008, 5009, 5010, 5092, 5097, 5112, 5113, 63,
})  # fmt: skip
# Only worth telling when the files are the same: they follow from what is in these.
OF_CONTENTS = frozenset({1095, 1096, 1140, 1141, 1142, 1143, 1144, 1145})

_LONGEST = 160


def name(tag: int) -> str:
    """What rpm calls it."""
    return NAMES.get(tag, f"tag {tag}")


def shown(value: Value | None, other: Value | None) -> str:
    """A tag's value in a line; of a list only what `other` does not have at the same place."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:16].hex()}"
    if isinstance(other, tuple) and len(value) > 1:
        mine = [v for n, v in enumerate(value) if n >= len(other) or other[n] != v]
    else:
        mine = list(value)
    if len(mine) == 1 and isinstance(other, tuple) and len(other) == 1:
        mine = [_own_lines(str(mine[0]), str(other[0]))]
    text = ", ".join(map(str, mine)) if mine else f"{len(value)} values"
    text = text.replace("\n", "\\n")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _own_lines(text: str, other: str) -> str:
    """Of a text of many lines those that the other has not at the same place."""
    lines, others = text.split("\n"), other.split("\n")
    if len(lines) < 2 or len(lines) != len(others):
        return text
    return "\n".join(line for line, their in zip(lines, others, strict=True) if line != their)
