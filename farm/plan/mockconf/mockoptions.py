"""mock's options: which farm honours, which cannot change a package, which only mock honours.

An option is `refused` only when a chroot file gives it another value than mock's own default.
Which builder is in use decides what a refusal means; nothing is ignored in silence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

ALIASES: Mapping[str, str] = dict.fromkeys(("yum.conf", "dnf4.conf", "dnf5.conf"), "dnf.conf")

# Read by chroots.py and part of the Chroot.
HONOURED = frozenset((
    "root", "target_arch", "releasever", "repo_arch", "repo_arch_map", "dnf.conf", "dnf_vars",
    "chroot_setup_cmd", "chroot_additional_packages", "dist", "macros", "environment", "files",
    "extra_chroot_dirs", "chrootuser", "rpmbuild_timeout", "rpmbuild_arch", "chroothome",
    "plugin_conf", "jinja_max_recursion", "farm_emulator", "farm_native_tools",
))  # fmt: skip

# Where things are kept, how they are fetched, logged, cached and cleaned, and what the lock or
# the sandbox decides in mock's place.
_HARMLESS = frozenset((
    "additional_packages", "backup_base_dir", "backup_on_clean", "basedir", "bootstrap_image",
    "build_log_fmt_name", "build_log_fmt_str", "cache_topdir", "chroot_name", "chrootgid",
    "chrootgroup", "chrootuid", "clean", "cleanup_on_failure", "cleanup_on_success",
    "config_file", "config_path", "config_paths", "createrepo_command", "createrepo_on_rpms",
    "description", "dev_loop_count", "dnf_warning", "docker_unshare_warning",
    "dynamic_buildrequires_max_loops", "exclude_from_homedir_cleanup", "farm_base", "forcearch",
    "ftp_proxy", "host_arch", "http_proxy", "https_proxy", "isolation", "legal_host_arches",
    "local_repo_dir", "log_config_file", "mock_run_uuid", "no-config", "no_proxy",
    "no_root_shells", "nosync", "nosync_force", "oci_platform_map", "online", "opstimeout",
    "package_manager", "package_manager_attempt_delay", "package_manager_max_attempts",
    "plugin_dir", "plugins", "post_install", "print_main_output", "priorities.conf",
    "qemu_user_static_mapping", "recursion_limit", "redhat_subscription_required",
    "releasever_major", "resultdir",
    "rhnplugin.conf", "root_log_fmt_name", "root_log_fmt_str", "rootdir", "scm_opts", "seccomp",
    "shadow_utils_isolation_option", "ssl_ca_bundle_path", "ssl_copied_ca_trust_dirs",
    "ssl_extra_certs", "state_log_fmt_name", "state_log_fmt_str",
    "static_buildrequires_max_loops", "stderr_line_prefix", "subscription-manager.conf", "tar",
    "tar_binary", "unique-ext", "uniqueext", "update_before_build", "use_bootstrap",
    "use_bootstrap_container", "use_bootstrap_image", "use_container_host_hostname",
    "use_host_resolv", "use_host_shadow_utils", "use_nspawn", "user_agent", "useradd", "verbose",
    "version",
))  # fmt: skip
_HARMLESS_PREFIXES = (
    "bootstrap_", "buildroot_image_", "yum_", "dnf_", "dnf4_", "dnf5_", "microdnf_",
    "system_yum_", "system_dnf_",
)  # fmt: skip

# Would change what is built; the value is mock's default.
_ONLY_MOCK: Mapping[str, Any] = {
    "buildroot_image": None,
    "cache_alterations": False,
    "calculatedeps": None,
    "check": True,
    "copy_host_users": [],
    "dynamic_buildrequires": True,
    "enable_disable_repos": None,
    "external_buildrequires": False,
    "hermetic_build": False,
    "hostname": None,
    "internal_dev_setup": True,
    "macrofile": None,
    "module_enable": [],
    "module_install": [],
    "module_setup_commands": [],
    "more_buildreqs": {},
    "nspawn_args": ["--capability=cap_ipc_lock"],
    "offline_local_repository": None,
    "rpm_command": "/bin/rpm",
    "rpmbuild_command": "/usr/bin/rpmbuild",
    "rpmbuild_networking": False,
    "rpmbuild_opts": None,
    "scm": False,
    "short_circuit": None,
    "use_buildroot_image": False,
}

_ENVIRONMENT: Mapping[str, str] = {
    "TERM": "vt100",
    "SHELL": "/bin/bash",
    "HOME": "/builddir",
    "HOSTNAME": "mock",
    "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
    "PROMPT_COMMAND": r'printf "\033]0;<mock-chroot>\007"',
    "PS1": r"<mock-chroot> \s-\v\$ ",
    "LANG": "C.UTF-8",
}

# Macros that farm sets itself, the same for every builder: reproducible results need them.
OWN_MACROS = frozenset((
    "_topdir", "_rpmfilename", "_buildhost", "use_source_date_epoch_as_buildtime",
    "source_date_epoch_from_changelog", "clamp_mtime_to_source_date_epoch",
    "build_mtime_policy", "_smp_build_ncpus", "_smp_mflags",
))  # fmt: skip

# Plugins that leave the packages as they are, and those that do not.
_HARMLESS_PLUGINS = frozenset((
    "tmpfs", "root_cache", "yum_cache", "selinux", "package_state", "chroot_scan", "lvm_root",
    "overlayfs", "compress_logs", "hw_info", "showrc", "buildroot_lock", "export_buildroot_image",
    "unbreq", "expand_spec", "system_monitor",
))  # fmt: skip
_CHANGING_PLUGINS = frozenset((
    "bind_mount", "mount", "ccache", "sign", "pm_request", "procenv", "rpkg_preprocessor",
    "rpmautospec",
))  # fmt: skip
_ONLY_WITH_DIRECTORIES = ("bind_mount", "mount")


def defaults() -> dict[str, Any]:
    """Where reading a chroot file starts: mock's defaults for what files refer to or add to."""
    plugins: dict[str, Any] = {
        f"{plugin}_opts": {"dirs": []} if plugin in _ONLY_WITH_DIRECTORIES else {}
        for plugin in sorted(_HARMLESS_PLUGINS | _CHANGING_PLUGINS)
    }
    return {
        **_ONLY_MOCK,
        "chroot_setup_cmd": ("groupinstall", "buildsys-build"),
        "chroot_additional_packages": [],
        "chroothome": "/builddir",
        "chrootuser": "mockbuild",
        "chrootgroup": "mock",
        "basedir": "/var/lib/mock",
        "cache_topdir": "/var/cache/mock",
        "dnf_vars": {},
        "dnf_install_command": "install python3-dnf python3-dnf-plugins-core",
        "dnf4_install_command": "install python3-dnf python3-dnf-plugins-core",
        "dnf5_install_command": "install dnf5 dnf5-plugins",
        "yum_install_command": "install yum yum-utils",
        "dnf_common_opts": [],
        "yum_common_opts": [],
        "environment": dict(_ENVIRONMENT),
        "extra_chroot_dirs": [],
        "files": {},
        "macros": {},
        "no-config": {},
        "plugin_conf": plugins,
        "releasever": None,
        "repo_arch": None,
        "repo_arch_map": {},
        "rpmbuild_arch": None,
        "rpmbuild_timeout": 0,
        "scm_opts": {},
        "user_agent": "farm",
    }


def classify(
    options: Mapping[str, Any], touched: Iterable[str], used_in_templates: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(ignored, refused) names among the options that a chroot file set.

    An option that mock does not know is a variable if a template refers to it, else a mistake:
    refused with the nearest known name.
    """
    ignored: list[str] = []
    refused: list[str] = []
    for name in sorted(touched):
        if name in HONOURED:
            continue
        if name in _ONLY_MOCK:
            if _plain(options[name]) != _plain(_ONLY_MOCK[name]):
                refused.append(name)
        elif name in _HARMLESS or name in used_in_templates or name.startswith(_HARMLESS_PREFIXES):
            ignored.append(name)
        else:
            refused.append(_unknown(name, HONOURED | _HARMLESS | set(_ONLY_MOCK)))
    refused += _plugins(options["plugin_conf"])
    refused += [
        f"macros[{name!r}]"
        for name in sorted(options["macros"])
        if name.removeprefix("%") in OWN_MACROS
    ]
    if options.get("chroothome") != "/builddir":
        refused.append("chroothome")
    if options.get("rpmbuild_arch") not in (None, options.get("target_arch")):
        refused.append("rpmbuild_arch")
    return tuple(ignored), tuple(refused)


def _plugins(conf: Mapping[str, Any]) -> list[str]:
    refused = []
    for key, value in sorted(conf.items()):
        plugin, _, what = key.rpartition("_")
        if plugin in _ONLY_WITH_DIRECTORIES and what == "opts":
            enabled = conf.get(f"{plugin}_enable", True)
            if enabled and isinstance(value, dict) and value.get("dirs"):
                refused.append(f"plugin_conf[{key!r}]['dirs']")
        elif what == "enable" and value and plugin not in _ONLY_WITH_DIRECTORIES:
            if plugin in _CHANGING_PLUGINS:
                refused.append(f"plugin_conf[{key!r}]")
            elif plugin not in _HARMLESS_PLUGINS:
                known = _HARMLESS_PLUGINS | _CHANGING_PLUGINS
                refused.append(f"plugin_conf[{_unknown(key, {f'{k}_enable' for k in known})}]")
    return refused


def _unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), 1)
    return f"{name} (unknown to mock" + (f"; perhaps you meant {close[0]})" if close else ")")


def _plain(value: Any) -> Any:
    """Tuples as lists, whatever is empty as None."""
    if isinstance(value, tuple):
        value = list(value)
    return value if value or value is False else None
