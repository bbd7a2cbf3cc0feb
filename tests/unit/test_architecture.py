"""The house's import directions, as docs/design.md draws them."""

from __future__ import annotations

import ast
from pathlib import Path

import farm

ROOT = Path(farm.__file__).parent

STAGES = ("layer", "plan", "rebuild", "verify", "publish", "site", "base")
INFRASTRUCTURE = (
    "config", "store", "database", "accounts", "ledger", "sandbox", "run", "apt", "progress",
    "rpmheader", "rpmpayload", "gpg", "lazily", "httpd",
)  # fmt: skip
FLOORS = {
    **dict.fromkeys(("errors", "steps"), 0),
    "model": 1,
    **dict.fromkeys(INFRASTRUCTURE, 2),
    **dict.fromkeys(STAGES, 3),
    **dict.fromkeys(
        (
            "attesting",
            "audience",
            "basemove",
            "bases",
            "building",
            "inputs",
            "logs",
            "metrics",
            "overview",
            "published",
            "recovery",
            "rebuilt",
            "collection",
            "foresight",
            "showing",
            "survey",
            "turns",
            "webhook",
            "wishes",
            "workshop",
            "checks",
            "closure",
            "gate",
            "reasons",
            "reports",
            "doctor",
            "verification",
            "stranger",
        ),
        4,
    ),
    **dict.fromkeys(("pipeline", "screens"), 5),
    "cli": 6,
    "__main__": 7,
}


def room(module: str) -> str:
    """`farm.plan.solver` → `plan`."""
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == "farm" else {node.module or ""}
    return {name for name in found if name == "farm" or name.startswith("farm.")}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "__init__" else ""


def test_every_module_has_a_floor() -> None:
    rooms = {room_of(path) for path in modules()} - {""}
    assert rooms <= set(FLOORS), f"say in FLOORS where these belong: {rooms - set(FLOORS)}"


def test_imports_go_only_downward() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules()
        for name in imports_of(path)
        if room_of(path)
        and room(name)
        and room(name) != room_of(path)
        and (
            FLOORS[room(name)] > FLOORS[room_of(path)]
            or (room_of(path) in STAGES and room(name) in STAGES)
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_errors_import_nothing_of_farm() -> None:
    assert imports_of(ROOT / "errors.py") == set()


def test_no_file_is_longer_than_500_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for path in modules()
        if (count := len(path.read_text("utf-8").splitlines())) > 500
    ]
    assert not long, "split along their seams: " + ", ".join(long)


def test_only_run_starts_processes() -> None:
    guilty = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.name != "run.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Import) and any(a.name == "subprocess" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "subprocess")
        or (
            isinstance(node, ast.Attribute)
            and node.attr in ("system", "popen", "posix_spawn", "execv", "execvp")
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        )
    ]
    assert not guilty, guilty


def test_only_main_exits() -> None:
    guilty = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.name != "__main__.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("exit", "_exit")
        and isinstance(node.value, ast.Name)
        and node.value.id in ("sys", "os")
    ]
    assert not guilty, guilty
