"""Debian's kernel packages: which exist for a series, and how to get a bootable kernel out.

Up to 6.18 one package `linux-image-R` holds everything. From 6.19 on it only depends on
`linux-binary-R` (the signed image; `linux-binary-unsigned-R` comes first and may be the only one),
`linux-modules-R` and `linux-base-R` (the configuration). Modules of older point releases leave the
mirror while their signed images stay, so a series may have images alone: such a kernel still boots
with its whole user space in the initramfs (see `initramfs`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.apt import PrivateApt
from scx_vsched.vm.kernels import COMPLETE, SERIES, Kernel, kernels_in, release_key, series_of
from scx_vsched.vm.modules import stage_modules
from scx_vsched.vm.paths import cache_dir, kernel_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["KernelPackages", "fetch", "newest", "parse_packages"]

_SUITES = ("trixie-backports", "sid")
_PATTERN = r"^linux-(image|binary|binary-unsigned|modules|base)-[0-9].*-amd64$"
# The plain flavour only: cloud kernels lack 9p, rt kernels preempt differently.
_NAME = re.compile(
    r"linux-(image|binary|binary-unsigned|modules|base)-(\d+\.\d+\.\d+[+~.\w]*-amd64)"
)
_LIST_AGE_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class KernelPackages:
    """The packages that make up one release; `modules` and `base` may be missing."""

    release: str
    image: str
    modules: str | None
    base: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The packages to download, each once."""
        every = (self.image, self.modules, self.base)
        return tuple(dict.fromkeys(name for name in every if name is not None))


def parse_packages(names: Iterable[str]) -> list[KernelPackages]:
    """Group package names by kernel release, newest release first."""
    parts: dict[str, dict[str, str]] = {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None:
            parts.setdefault(match[2], {})[match[1]] = name
    found = []
    for release, kinds in parts.items():
        split_image = kinds.get("binary-unsigned") or kinds.get("binary")
        if split_image is not None:
            modules, base = kinds.get("modules"), kinds.get("base")
            found.append(KernelPackages(release, split_image, modules, base))
        elif "image" in kinds:
            found.append(KernelPackages(release, kinds["image"], kinds["image"], kinds["image"]))
    return sorted(found, key=lambda each: release_key(each.release), reverse=True)


def newest(packages: Iterable[KernelPackages], series: str) -> KernelPackages | None:
    """The newest release of `series`; one with modules is preferred to a newer one without."""
    mine = [each for each in packages if series_of(each.release) == series]
    mine.sort(key=lambda each: (each.modules is not None, release_key(each.release)), reverse=True)
    return mine[0] if mine else None


def _updated_apt() -> PrivateApt:
    """All suites, or backports alone where the mirror's sid is missing or out of date."""
    try:
        apt = PrivateApt(cache_dir() / "apt", _SUITES)
        apt.update(_LIST_AGE_S)
    except UserError:
        apt = PrivateApt(cache_dir() / "apt-backports", _SUITES[:1])
        apt.update(_LIST_AGE_S)
    return apt


def fetch(series: str, say: Callable[[str], None]) -> Kernel:
    """Fetch the newest kernel of `series` into the cache, unless it is there already.

    `say` gets a line for each step. Older releases of the series leave the cache.

    Raises:
        UserError: unknown series, no such package, no network, no disk space.
    """
    if series not in SERIES[1:]:
        own = f"; {SERIES[0]} is built with tools/build-kernel" if series == SERIES[0] else ""
        raise UserError(
            f"Debian has no packages of series {series!r}{own}",
            f"series that can be fetched: {', '.join(SERIES[1:])}",
        )
    say("reading Debian's package lists")
    apt = _updated_apt()
    wanted = newest(parse_packages(apt.names(_PATTERN)), series)
    if wanted is None:
        raise UserError(
            f"Debian's mirror lists no kernel of series {series} at present",
            "try a neighbouring series, or give an image with --dir",
        )
    target = kernel_cache() / wanted.release
    if not (target / COMPLETE).exists():
        say(f"downloading {', '.join(wanted.names)}")
        _install(apt, wanted, target, say)
        _drop_older(series, wanted.release)
    return kernels_in(target / "boot", "cache")[0]


def _install(
    apt: PrivateApt, wanted: KernelPackages, target: Path, say: Callable[[str], None]
) -> None:
    kernel_cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=kernel_cache()) as scratch:
        work = Path(scratch)
        debs = apt.download(wanted.names, work / "debs")
        say(f"unpacking {wanted.release}")
        for deb in debs:
            _unpack(deb, work / "tree")
            deb.unlink()
        made = work / "made"
        _assemble(wanted.release, work / "tree", made)
        (made / COMPLETE).touch()
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)


def _unpack(deb: Path, into: Path) -> None:
    done = subprocess.run(
        ["dpkg-deb", "--extract", str(deb), str(into)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UserError(
            f"cannot unpack {deb.name}: {done.stderr.strip()[-300:]}", "is the disk full?"
        )


def _assemble(release: str, tree: Path, made: Path) -> None:
    """Pick image, configuration and modules out of unpacked packages, whatever their layout."""
    boot = made / "boot"
    boot.mkdir(parents=True)
    modules = next((path for path in tree.glob(f"**/lib/modules/{release}")), None)
    images = [
        *tree.glob(f"**/vmlinuz-{release}"),
        *tree.glob(f"**/lib/modules/{release}/vmlinuz*"),
    ]
    if not images:
        raise UserError(f"the packages of {release} hold no kernel image", "try another series")
    shutil.copyfile(images[0], boot / f"vmlinuz-{release}")
    for config in (
        *tree.glob(f"**/config-{release}"),
        *tree.glob(f"**/lib/modules/{release}/config"),
    ):
        shutil.copyfile(config, boot / f"config-{release}")
    if modules is not None and (modules / "kernel").is_dir():
        stage_modules(modules, release, made)


def _drop_older(series: str, keep: str) -> None:
    for directory in kernel_cache().iterdir():
        name = directory.name
        packaged = directory.is_dir() and name.endswith("-amd64")
        if packaged and name != keep and series_of(name) == series:
            shutil.rmtree(directory)
