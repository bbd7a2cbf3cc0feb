"""mock's configuration files are read as data: what is accepted, what is refused, and how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import ConfigError
from farm.model import Chroot
from farm.plan.chroots import read_chroot, read_chroots

PROJECT = Path(__file__).parents[2]
MINIMAL = """
config_opts['target_arch'] = 'x86_64'
config_opts['releasever'] = '9'
config_opts['dist'] = 'el9'
config_opts['chroot_setup_cmd'] = 'install bash @buildsys-build'
config_opts['dnf.conf'] = '''
[main]
gpgcheck=1
[base]
baseurl=http://mirror.example/$releasever/$basearch/
'''
"""


def read(
    directory: Path,
    more: str = "",
    *,
    name: str = "el-9-x86_64",
    options: Mapping[str, str] | None = None,
    host_arch: str = "x86_64",
) -> Chroot:
    path = directory / f"{name}.cfg"
    path.write_text(MINIMAL + more)
    return read_chroot(path, options or {}, host_arch=host_arch)


def test_a_chroot_file_gives_release_architecture_setup_and_repositories(tmp_path: Path) -> None:
    chroot = read(tmp_path)
    assert (chroot.name, chroot.release, chroot.arch) == ("el-9-x86_64", "el-9", "x86_64")
    assert chroot.setup == ("bash", "@buildsys-build")
    (base,) = chroot.repositories
    assert base.baseurl == ("http://mirror.example/9/x86_64/",)
    assert base.gpgcheck  # inherited from [main]
    assert chroot.refused == ()


def test_dist_is_given_the_dot_that_mock_leaves_out(tmp_path: Path) -> None:
    assert read(tmp_path).dist == ".el9"


def test_the_macro_dist_goes_before_the_option_dist(tmp_path: Path) -> None:
    chroot = read(tmp_path, "config_opts['macros']['%dist'] = '.el9_5'\n")
    assert chroot.dist == ".el9_5"
    assert "dist" not in dict(chroot.macros)


def test_a_chroot_without_dist_is_refused_because_the_counter_lives_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="%dist"):
        read(tmp_path, "config_opts['dist'] = None\n")


def test_mock_defaults_are_part_of_the_chroot(tmp_path: Path) -> None:
    chroot = read(tmp_path)
    environment = dict(chroot.environment)
    assert environment["HOME"] == "/builddir"
    assert environment["PATH"] == "/usr/bin:/bin:/usr/sbin:/sbin"
    assert "localhost" in dict(chroot.files)["etc/hosts"]
    assert chroot.unprivileged_user == "mockbuild"


def test_build_conditions_are_read_from_macros(tmp_path: Path) -> None:
    chroot = read(
        tmp_path,
        "config_opts['macros']['%_with_mpi'] = '--with-mpi'\n"
        "config_opts['macros']['_without_tests'] = '--without-tests'\n"
        "config_opts['macros']['%_with_x'] = '--with-x-includes=/opt'\n"
        "config_opts['macros']['%vendor'] = 'us'\n",
    )
    assert chroot.with_options == ("mpi",)
    assert chroot.without_options == ("tests",)
    assert chroot.macros == (("_with_x", "--with-x-includes=/opt"), ("vendor", "us"))


def test_templates_are_rendered_over_all_options_until_they_are_stable(tmp_path: Path) -> None:
    chroot = read(
        tmp_path,
        "config_opts['flavour'] = '{{ releasever }}-stream'\n"
        "config_opts['files']['/etc/flavour'] = '{{ flavour }}'\n"
        "config_opts['chroot_setup_cmd'] = 'install {% if target_arch == \"x86_64\" %}a{% endif %}'"
        "\n",
    )
    assert dict(chroot.files)["etc/flavour"] == "9-stream"
    assert chroot.setup == ("a",)
    assert "flavour" in chroot.ignored  # a variable of the templates, not a mistake


def test_options_given_override_the_file_as_mock_config_opts_does(tmp_path: Path) -> None:
    more = "config_opts['farm_base'] = '/var/lib/farm/base'\n" + (
        "config_opts['dnf.conf'] = '[b]\\nbaseurl=file://{{ farm_base }}/x'\n"
    )
    assert read(tmp_path, more).repositories[0].baseurl == ("file:///var/lib/farm/base/x",)
    chroot = read(tmp_path, more, options={"farm_base": "/elsewhere", "rpmbuild_timeout": "60"})
    assert chroot.repositories[0].baseurl == ("file:///elsewhere/x",)
    assert chroot.timeout == 60


def test_native_tools_are_of_use_only_on_a_foreign_host(tmp_path: Path) -> None:
    more = "config_opts['farm_native_tools'] = '{{ releasever }}/native'\n"
    assert read(tmp_path, more, host_arch="x86_64").native_tools == ""
    assert read(tmp_path, more, host_arch="aarch64").native_tools == "9/native"


def test_the_methods_that_mock_files_use_are_understood(tmp_path: Path) -> None:
    chroot = read(
        tmp_path,
        "config_opts['chroot_setup_cmd'] += ' make'\n"
        "config_opts['chroot_additional_packages'].append('zsh')\n"
        "config_opts['chroot_additional_packages'].extend(['vim'])\n"
        "config_opts['macros'].update({'%a': '1', 'b': '2'})\n"
        "config_opts['environment'].setdefault('CC', 'gcc' + '-14')\n"
        "config_opts['extra_chroot_dirs'] = ['/run/lock']\n",
    )
    assert chroot.setup == ("bash", "@buildsys-build", "make", "zsh", "vim")
    assert chroot.macros == (("a", "1"), ("b", "2"))
    assert dict(chroot.environment)["CC"] == "gcc-14"
    assert chroot.directories == ("/run/lock",)


def test_tests_of_earlier_options_are_understood_as_fedora_writes_them(tmp_path: Path) -> None:
    chroot = read(
        tmp_path,
        "config_opts['mirrored'] = config_opts['target_arch'] != 'i686'\n"
        "config_opts['new'] = int(config_opts['releasever']) >= 9 and not False\n"
        "config_opts['chroot_setup_cmd'] = 'install {{ mirrored }} {{ new }}'\n",
    )
    assert chroot.setup == ("True",)  # both are, and a name is installed once


def test_an_included_file_is_looked_for_beside_the_file_and_read_once(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "x.tpl").write_text(
        "include('y.tpl')\ninclude('../el-9-x86_64.cfg')\nconfig_opts['dist'] = 'x'\n"
    )
    (tmp_path / "templates" / "y.tpl").write_text("config_opts['chrootuser'] = 'y'\n")
    chroot = read(tmp_path, "include('templates/x.tpl')\n")
    assert (chroot.dist, chroot.unprivileged_user) == (".x", "y")


def test_a_missing_include_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"el-9-x86_64\.cfg:12: include\('no\.tpl'\)"):
        read(tmp_path, "include('no.tpl')\n")


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("import os", "an import"),
        ("if True: config_opts['a'] = 1", "an if"),
        ("for x in []: pass", "a loop"),
        (
            "config_opts['a'] = open('/etc/passwd').read()",
            r"the call of open\('/etc/passwd'\).read",
        ),
        ("config_opts['a'] = [x for x in (1,)]", "a loop"),
        ("config_opts['a'] = '{}'.format(1)", "the call of"),
        ("config_opts['a'] = f'{1}'", "an f-string"),
        ("config_opts['a'] = 'x' % ()", "expression"),
        ("config_opts['a'] = 'x' * 10 ** 9", "expression"),
        ("config_opts['a'] = lambda: 0", "a lambda"),
        ("config_opts = {}", "expression"),
        ("other['a'] = 1", "other"),
        ("config_opts.clear()", r"the call of config_opts.clear\(\)"),
        ("config_opts['macros'].update(x=1)", "the call of"),
        ("config_opts['nothing'] += 'x'", "has no value"),
        ("config_opts['macros'] += 'x'", "adding str to dict"),
        ("def f(): pass", "a function"),
        ("del config_opts['root']", "a del"),
        ("config_opts['a'] = {**{}}", r"\*\*"),
        ("config_opts['a'] = int('x')", r"int\(\) of 'x'"),
        ("include(1)", "no file name"),
        ("config_opts[1] = 2", "not the name of an option"),
        ("config_opts['macros'][('a',)] = 2", "an assignment to"),
        ("config_opts['a'] = {[]: 1}", "unhashable"),
        ("config_opts['a'] = 1 < 'x'", "comparison"),
        ("__import__('os').system('true')", "the call of"),
    ],
)
def test_code_is_refused_by_name_with_file_and_line(tmp_path: Path, code: str, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"el-9-x86_64\.cfg:12: .*{named}"):
        read(tmp_path, code + "\n")


def test_a_file_that_is_no_python_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"el-9-x86_64\.cfg:12: not valid"):
        read(tmp_path, "config_opts['a' = 1\n")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ 'x' * 10000000000 }}",
        "{% for a in range(10**9) %}x{% endfor %}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ nothing.of.it }}",
        "{% include '/etc/passwd' %}",
        "{{ a }}x",
        "{% if %}",
    ],
)
def test_a_template_that_reaches_out_or_does_not_end_is_refused(
    tmp_path: Path, template: str
) -> None:
    with pytest.raises(ConfigError, match="template in a "):
        read(tmp_path, f"config_opts['a'] = {template!r}\n")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("config_opts['module_setup_commands'] = [('enable', 'ruby:3')]", "module_setup_commands"),
        ("config_opts['nspawn_args'] = ['--bind=/x']", "nspawn_args"),
        ("config_opts['nspawn_args'] += ['--bind=/x']", "nspawn_args"),
        ("config_opts['rpmbuild_command'] = '/bin/false'", "rpmbuild_command"),
        ("config_opts['rpmbuild_networking'] = True", "rpmbuild_networking"),
        ("config_opts['chroothome'] = '/home/b'", "chroothome"),
        ("config_opts['rpmbuild_arch'] = 'i686'", "rpmbuild_arch"),
        ("config_opts['macros']['%_buildhost'] = 'x'", "macros['%_buildhost']"),
        ("config_opts['plugin_conf']['sign_enable'] = True", "plugin_conf['sign_enable']"),
        (
            "config_opts['plugin_conf']['bind_mount_opts']['dirs'].append(('/a', '/b'))",
            "plugin_conf['bind_mount_opts']['dirs']",
        ),
        ("config_opts['more_buildreqs']['x-1-1'] = 'y'", "more_buildreqs"),
        ("config_opts['dnf.conf'] += 'sslclientcert=/x'", "dnf.conf [base] sslclientcert"),
    ],
)
def test_what_only_mock_honours_is_refused_by_name(tmp_path: Path, line: str, name: str) -> None:
    assert read(tmp_path, line + "\n").refused == (name,)


@pytest.mark.parametrize(
    "line",
    [
        "config_opts['module_setup_commands'] = []",
        "config_opts['nspawn_args'] = ['--capability=cap_ipc_lock']",
        "config_opts['rpmbuild_networking'] = False",
        "config_opts['plugin_conf']['sign_enable'] = False",
        "config_opts['plugin_conf']['tmpfs_enable'] = True",
        "config_opts['plugin_conf']['bind_mount_enable'] = True",
        "config_opts['rpmbuild_arch'] = '{{ target_arch }}'",
    ],
)
def test_an_option_at_its_default_is_not_refused(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, line + "\n").refused == ()


def test_a_misspelt_option_is_refused_with_the_nearest_known_name(tmp_path: Path) -> None:
    (refused,) = read(tmp_path, "config_opts['chroot_setup_cmdd'] = 'install x'\n").refused
    assert refused == "chroot_setup_cmdd (unknown to mock; perhaps you meant chroot_setup_cmd)"


def test_options_that_cannot_change_a_package_are_recorded_as_ignored(tmp_path: Path) -> None:
    chroot = read(tmp_path, "config_opts['bootstrap_image'] = 'x'\nconfig_opts['basedir'] = '/y'\n")
    assert chroot.ignored == ("basedir", "bootstrap_image")


def test_repositories_are_read_with_dnfs_own_rules(tmp_path: Path) -> None:
    chroot = read(
        tmp_path,
        "config_opts['yum.conf'] = '''\n"
        "[main]\nexclude=general*\n"
        "[far]\nname=x\nmetalink=https://m.example/?repo=e-$releasever&arch=${basearch}\n"
        "cost=2000\ngpgcheck=yes\ngpgkey=file:///k1\n  file:///k2\n"
        "[off]\nbaseurl=http://x/\nenabled=False\n"
        "[near]\nmirrorlist=http://l.example/$arch\npriority=10\nexcludepkgs=a*,b c\n"
        "repo_gpgcheck=1\nmodule_hotfixes=1\nsslverify=0\n'''\n",
    )
    near, far = chroot.repositories  # the cheaper one first
    assert far.metalink == "https://m.example/?repo=e-9&arch=x86_64"
    assert far.gpgkeys == ("file:///k1", "file:///k2")
    assert far.gpgcheck and not far.repo_gpgcheck
    assert near.mirrorlist == "http://l.example/x86_64"
    assert dict(near.variables)["releasever"] == "9"
    assert (near.priority, near.excludes) == (10, ("general*", "a*", "b", "c"))
    assert near.repo_gpgcheck and near.module_hotfixes and not near.sslverify


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ("", "dnf.conf"),
        ("[main]", "enables no repository"),
        ("[r]\nname=x", "no baseurl, metalink or mirrorlist"),
        ("[r]\nbaseurl=http://x/$stream", r"\$stream has no value"),
        ("[r]\nbaseurl=http://x/\nenabled=perhaps", "neither true nor false"),
        ("[r]\nbaseurl=http://x/\npriority=high", "is no number"),
        ("no section", "not a dnf configuration"),
    ],
)
def test_a_dnf_configuration_that_cannot_be_used_is_refused(
    tmp_path: Path, conf: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"config_opts['dnf.conf'] = {conf!r}\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config_opts['chroot_setup_cmd'] = 'install --nogpgcheck x'", "only install packages"),
        ("config_opts['chroot_setup_cmd'] = 'update x'", "only install packages"),
        ("config_opts['chroot_setup_cmd'] = ''", "installs nothing"),
        ("config_opts['target_arch'] = None", "target_arch"),
        ("config_opts['target_arch'] = 'x86-64'", "no architecture 'x86-64'"),
        ("config_opts['files']['../x'] = ''", "not a path below the root"),
        ("config_opts['macros']['%a b'] = ''", "not the name of a macro"),
        ("config_opts['rpmbuild_timeout'] = 'soon'", "not a number of seconds"),
        ("config_opts['chrootuser'] = []", "not a text"),
        ("config_opts['macros'] = []", "not a dictionary"),
        ("config_opts['plugin_conf'] = None", "not a dictionary"),
        ("config_opts['files'] = {1: 'x'}", "not a dictionary of names"),
        ("config_opts['a'] = " + "+".join(["'x'"] * 5000), "nested too deeply|cannot be read"),
        ("config_opts['extra_chroot_dirs'] = [1]", "not a list of texts"),
    ],
)
def test_values_of_the_wrong_kind_name_the_option(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, line + "\n")


def test_groupinstall_is_mocks_other_word_for_groups(tmp_path: Path) -> None:
    chroot = read(tmp_path, "config_opts['chroot_setup_cmd'] = ('groupinstall', 'buildsys-build')")
    assert chroot.setup == ("@buildsys-build",)


def test_every_chroot_of_the_project_is_read_without_a_refusal() -> None:
    chroots = read_chroots(PROJECT / "chroots", {"farm_base": "/base"}, host_arch="x86_64")
    assert {"fedora-44", "fedora-45", "almalinux-9", "almalinux-10"} <= {c.release for c in chroots}
    for chroot in chroots:
        assert chroot.refused == (), chroot.name
        assert chroot.name == f"{chroot.release}-{chroot.arch}"
        assert chroot.dist.startswith(".")


def test_both_architectures_of_a_release_differ_in_nothing_but_the_architecture() -> None:
    chroots = read_chroots(PROJECT / "chroots", {"farm_base": "/base"}, host_arch="x86_64")
    for chroot in chroots:
        others = [c for c in chroots if c.release == chroot.release]
        assert {c.setup for c in others} == {chroot.setup}
        assert {c.dist for c in others} == {chroot.dist}


def test_a_directory_without_chroots_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read_chroots(tmp_path / "nowhere", {})


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_do_anything_but_read_or_refuse(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "a-1-x86_64.cfg"
    path.write_text(MINIMAL + text, "utf-8", errors="surrogatepass")
    try:
        assert read_chroot(path, {}).arch
    except ConfigError as error:
        assert path.name in error.what
