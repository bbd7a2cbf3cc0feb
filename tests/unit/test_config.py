"""One schema; unknown keys are refused with the nearest known one."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.config import in_force, load
from farm.errors import ConfigError
from farm.model import Limits


def write(directory: Path, text: str) -> Path:
    (directory / "farm.toml").write_text(text)
    return directory


def test_everything_has_a_default(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.release(None)[1].architectures == ("x86_64", "aarch64")
    assert config.path("state") == tmp_path / ".farm"


def test_the_file_of_this_repository_is_accepted() -> None:
    config = load(Path(__file__).parents[2])
    assert "debian-13" in config.releases


@pytest.mark.parametrize(
    ("text", "option", "nearest"),
    [
        ("[publsih]\n", "publsih", "publish"),
        ("[publish]\nadress = 'x'\n", "publish.adress", "address"),
        ("[releases.x]\narchitecture = ['x86_64']\n", "releases.x.architecture", "architectures"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    tmp_path: Path, text: str, option: str, nearest: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert option in caught.value.what
    assert nearest in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "[build]\njobs = 'many'\n",
        "[build]\nbuilder = 'docker'\n",
        "[releases.x]\npolicy = 'direct'\n",
        "releases = 3\n",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_the_option_named(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert "farm.toml" in caught.value.what and caught.value.why


def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "[build\njobs = 2\n"))
    assert "line 1" in caught.value.why


def test_an_unknown_release_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path).release("debian-31")
    assert "debian-13" in caught.value.why


def test_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_BUILD_JOBS", "7")
    monkeypatch.setenv("FARM_SOURCES_LOOKASIDE", "/a,/b")
    config = load(write(tmp_path, "[build]\njobs = 2\n"))
    assert config.build.jobs == 7
    assert config.sources.lookaside == ("/a", "/b")


def test_it_can_be_asked_what_is_in_force_and_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_BUILD_JOBS", "7")
    config = load(write(tmp_path, "[publish]\nkey = 'ours'\n"))
    rows = {key: (value, origin) for key, value, origin in in_force(config)}
    assert rows["publish.key"] == ("ours", "farm.toml")
    assert rows["build.jobs"] == ("7", "FARM_BUILD_JOBS")
    assert rows["build.builder"] == ("auto", "default")
    assert rows["releases.debian-13.architectures"] == ("x86_64, aarch64", "default")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[releases]\ndebian-13 = 3\n", "releases"),
        ("paths = 'x'\n", "paths"),
        ("[releases.debian-13]\narchitectures = []\n", "releases.debian-13.architectures"),
        ("[paths]\nstate = ''\n", "paths.state"),
        ("[paths]\npublication = ''\n", "paths.publication"),
        ("[paths]\nstate = '~nosuchuser/x'\n", "paths.state"),
        ("[build]\njobs = -3\n", "build.jobs"),
        ("[build]\ntimeout = -1\n", "build.timeout"),
        ("[limits.slow]\nmemory = -1\n", "limits.slow.memory"),
        ("[limits.slow]\ncores = 0\n", "limits.slow.cores"),
        ("[limits.slow]\ntimeout = 'long'\n", "limits"),
        ("[limits]\nslow = 3\n", "limits.slow"),
        ("[publish]\ngrace_hours = -1\n", "publish.grace_hours"),
        ("[publish]\naddress = 'http://x:99999999'\n", "publish.address"),
        ("[publish]\naddress = 'nonsense'\n", "publish.address"),
        ("[publish]\nkey = ''\n", "publish.key"),
    ],
)
def test_a_value_that_cannot_work_is_refused_and_the_option_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, named: str
) -> None:
    monkeypatch.setenv("FARM_PATHS_ROOTS", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert named in f"{caught.value.what} {caught.value.why}"


@pytest.mark.parametrize("kind", ["not utf-8", "directory"])
def test_a_farm_toml_that_cannot_be_read_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "directory":
        (tmp_path / "farm.toml").mkdir()
    else:
        (tmp_path / "farm.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"farm\.toml"):
        load(tmp_path)


def test_a_limit_that_there_is_not_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"limits\.slow\.timout") as caught:
        load(write(tmp_path, "[limits.slow]\ntimout = 3\n"))
    assert "'timeout'" in caught.value.hint


def test_a_package_has_the_limits_of_all_but_for_its_own(tmp_path: Path) -> None:
    config = load(
        write(
            tmp_path,
            "[build]\ntimeout = 100\nmemory = 1000\ndisk = 5\n"
            "[limits.slow]\ntimeout = 900\nsilence = 0\nmemory = 4096\n",
        )
    )
    assert config.limits_of("other") == Limits(100, 3600, 1000 << 20, 5 << 20)
    assert config.limits_of("slow") == Limits(900, 0, 4096 << 20, 5 << 20)


def test_the_time_of_a_chroot_comes_before_that_of_all_and_after_a_packages_own(
    tmp_path: Path,
) -> None:
    config = load(write(tmp_path, "[build]\ntimeout = 100\n[limits.slow]\ntimeout = 900\n"))
    assert config.limits_of("other", 60).time == 60
    assert config.limits_of("slow", 60).time == 900


def test_limits_that_nobody_set_are_not_said_to_be_in_force(tmp_path: Path) -> None:
    config = load(write(tmp_path, "[limits.slow]\ntimeout = 900\n"))
    rows = {key: value for key, value, _ in in_force(config)}
    assert rows["limits.slow.timeout"] == "900" and "limits.slow.memory" not in rows


def test_the_addresses_of_webhooks_are_shown_without_their_tokens(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(
        '[webhook]\naddresses = ["https://me:pw@chat.example:8443/hooks/t0ken?key=t0ken",'
        ' "http://10.0.0.1"]\n'
    )
    shown = {key: value for key, value, _ in in_force(load(tmp_path))}
    assert shown["webhook.addresses"] == "https://chat.example:8443/…, http://10.0.0.1"


@pytest.mark.parametrize("address", ["ftp://h/t0ken", "t0ken", "file:///t0ken", "http://h:x/t0ken"])
def test_an_address_that_no_message_can_go_to_is_refused(tmp_path: Path, address: str) -> None:
    (tmp_path / "farm.toml").write_text(f'[webhook]\naddresses = ["{address}"]\n')
    with pytest.raises(ConfigError, match=r"webhook\.addresses") as caught:
        load(tmp_path)
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("line", ["jobs = 0", "cores = 0", "lost = -1"])
def test_a_cluster_that_may_do_nothing_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "farm.toml").write_text(f"[slurm]\n{line}\n")
    with pytest.raises(ConfigError, match=r"slurm\.\w+ cannot be less than"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits.blast]\nmemory = '512M'\n", ("limits.blast.memory", "'512M'", "number of MiB")),
        ("[limits.blast]\ntimeout = '2h'\n", ("limits.blast.timeout", "number of seconds")),
        (
            "[build]\nengine = 'slrum'\n",
            ("build.engine", "one of local, slurm", "Perhaps", "slurm"),
        ),
        ("[slurm]\noptions = '--x'\n", ("slurm.options", "a list")),
        ("[slurm]\nfeatures = 'x'\n", ("slurm.features", "a table")),
        ("[slurm]\nfeatures = { x86_64 = 3 }\n", ("slurm.features.x86_64", "a text")),
        ("[slurm]\nshared = 'perhaps'\n", ("slurm.shared", "true or false")),
        ("[releases.x]\npolicy = 'direct'\n", ("releases.x.architectures is missing", "a list")),
        ("[sources]\norigins = ['web']\n", ("sources.origins", "one of upstream, debian")),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_what_would_fit(
    tmp_path: Path, text: str, said: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    whole = f"{caught.value.what} {caught.value.why} {caught.value.hint}"
    assert all(part in whole for part in said), whole
    assert "null" not in whole and "[...]" not in whole


def test_a_wrong_value_from_the_environment_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_BUILD_TIMEOUT", "2h")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.what.startswith("FARM_BUILD_TIMEOUT cannot be '2h'")
    monkeypatch.setenv("FARM_BUILD_TIMEOUT", "-1")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.what.startswith("FARM_BUILD_TIMEOUT cannot be negative")


def test_an_address_of_the_wrong_kind_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "[webhook]\naddresses = 'https://x/hooks/token'\n"))
    assert "webhook.addresses" in caught.value.what
    assert "token" not in str(caught.value)


def test_every_option_of_one_value_can_be_set_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_BUILD_ENGINE", "slurm")
    monkeypatch.setenv("FARM_BUILD_BUILDER", "embedded")
    monkeypatch.setenv("FARM_SLURM_SHARED", "false")
    monkeypatch.setenv("FARM_SLURM_OPTIONS", "--x,--y")
    config = load(tmp_path)
    assert (config.build.engine, config.build.builder) == ("slurm", "embedded")
    assert config.slurm.shared is False
    assert config.slurm.options == ("--x", "--y")


@pytest.mark.parametrize(
    "address", ["build 7", "http://build7", "build7:x", "build7:123456", ":80"]
)
def test_an_address_that_no_node_could_reach_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match=r"slurm\.address.*HOST:PORT"):
        load(write(tmp_path, f"[slurm]\naddress = '{address}'\n"))


@pytest.mark.parametrize("address", ["build7", "build7.example.org:8500", "192.0.2.7", "[::1]:80"])
def test_an_address_is_a_host_with_or_without_a_port(tmp_path: Path, address: str) -> None:
    assert load(write(tmp_path, f"[slurm]\naddress = '{address}'\n")).slurm.address == address
