"""The packages that a lock names, archived into the store: upstream mirrors forget."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from farm.errors import RepositoryError, StateError
from farm.model import LockedPackage, Repository
from farm.plan.metadata.gpg import unsigned_packages
from farm.plan.metadata.pins import Pin, local_path
from farm.plan.metadata.transfer import TransferError, fetch
from farm.store import Store, sha256_of

_WORKERS = 8


def download(
    packages: Iterable[LockedPackage],
    store: Store,
    pins: Sequence[Pin] = (),
    *,
    on_package: Callable[[LockedPackage], None] | None = None,
) -> int:
    """Bring every base package of a lock into the store; how many had to be fetched.

    Packages of the layer (no location) are in the store already. With `pins`, further mirrors
    of a repository are asked when the first fails, and where it has `gpgcheck` a package enters
    the store only with a good signature. A local file is hard-linked where that is possible.
    `on_package` is told of each package as it arrives, in this thread.

    Raises RepositoryError naming package, repository and address; what had arrived stays.
    """
    wanted = {package.sha256: package for package in packages if package.location}
    missing = [package for sha256, package in wanted.items() if sha256 not in store]
    if not missing:
        return 0
    origins = {package.sha256: _origin(package, pins) for package in missing}
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.root, prefix=".incoming-") as scratch:
        arrived: dict[Repository, list[tuple[LockedPackage, Path]]] = {}
        failures: list[str] = []
        with ThreadPoolExecutor(_WORKERS) as pool:
            tasks = {
                pool.submit(_obtain, package, origins[package.sha256], Path(scratch)): package
                for package in missing
            }
            try:
                for task in as_completed(tasks):
                    package = tasks[task]
                    try:
                        path = task.result()
                    except TransferError as error:
                        failures.append(f"{package.nevra} ({package.repository}): {error}")
                        continue
                    pin = origins[package.sha256]
                    if pin is not None and pin.repository.gpgcheck:
                        arrived.setdefault(pin.repository, []).append((package, path))
                    else:
                        _keep(package, path, store)
                    if on_package is not None:
                        on_package(package)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        for repository, pairs in arrived.items():
            bad = unsigned_packages(repository, [path for _, path in pairs])
            for package, path in pairs:
                if path in bad:
                    failures.append(f"{package.nevra} ({repository.id}): not signed: {bad[path]}")
                else:
                    _keep(package, path, store)
    if failures:
        raise RepositoryError(
            f"{len(failures)} of {len(missing)} packages of the base cannot be had: "
            f"{failures[0].split(' ', 1)[0]}" + (" and others" if len(failures) > 1 else ""),
            why="\n".join(sorted(failures)[:10]),
            hint="Where the base has moved on, `farm base update` pins its present state.",
        )
    return len(missing)


def _obtain(package: LockedPackage, pin: Pin | None, scratch: Path) -> Path:
    """The package's file, verified; a local one where it lies. Raises TransferError."""
    reasons = []
    for address in _addresses(package, pin):
        local = local_path(address)
        path = local if local is not None else scratch / package.sha256
        try:
            if local is None:
                fetch(
                    address,
                    path,
                    limit=package.size or 1 << 33,
                    sslverify=pin is None or pin.repository.sslverify,
                )
                path.chmod(0o444)
            actual = sha256_of(path)
        except (TransferError, OSError) as error:
            reasons.append(f"{address}: {getattr(error, 'strerror', None) or error}")
            continue
        if actual == package.sha256:
            return path
        reasons.append(
            f"{address}: other bytes than its repository says "
            f"(sha256 {actual[:16]}…, not {package.sha256[:16]}…)"
        )
    raise TransferError("\n  ".join(reasons))


def _origin(package: LockedPackage, pins: Sequence[Pin]) -> Pin | None:
    """The pin that the package was locked from: ids repeat from chroot to chroot."""
    same = [pin for pin in pins if pin.repository.id == package.repository]
    exact = [pin for pin in same if package.location.startswith(pin.addresses[0] + "/")]
    return next(iter(exact + same), None)


def _addresses(package: LockedPackage, pin: Pin | None) -> list[str]:
    addresses = [package.location]
    if pin is not None and package.location.startswith(pin.addresses[0] + "/"):
        rest = package.location.removeprefix(pin.addresses[0])
        addresses += [other.rstrip("/") + rest for other in pin.addresses[1:4]]
    return addresses


def _keep(package: LockedPackage, path: Path, store: Store) -> None:
    try:
        store.put(path, sha256=package.sha256, link=True)
    except StateError as error:  # it changed between the check and now
        raise RepositoryError(
            f"{package.nevra} of repository {package.repository!r} changes while it is read",
            why=str(error),
        ) from error
