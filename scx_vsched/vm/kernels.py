"""Kernels that a VM can boot: what is on this machine, in which order it is preferred.

A kernel directory has Debian's layout: `boot/vmlinuz-R` (or `bzImage-R`) with `config-R` beside it
and `lib/modules/R` for those that need modules to reach their root file system.
"""

from __future__ import annotations

import gzip
import lzma
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.paths import kernel_cache, shared_kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "COMPLETE",
    "QUICK_SERIES",
    "SERIES",
    "Kernel",
    "find_kernels",
    "has_sched_ext",
    "kernels_in",
    "parse_release",
    "read_config",
    "release_key",
    "select",
    "series_of",
]

SERIES = ("6.12", "6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3")
"""The supported series. Debian has packages of all but 6.12, whose package has sched_ext off."""

QUICK_SERIES = ("6.12", "6.18", "7.3")
"""Oldest, long-term and newest: what every run of the tests boots."""

COMPLETE = "complete"
"""The file that marks a fetched kernel's directory as finished."""

_IMAGE = re.compile(r"^(?:vmlinuz|bzImage)-(\d+\.\d+(?:\.\d+)?(?:[-+~.\w]*)?)$")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel image and what belongs to it.

    `modules_dir` is `…/lib/modules/RELEASE` or None where everything needed is built in or absent;
    `has_sched_ext` is None where no configuration tells; `source` names the place it was found in.
    `standalone` kernels cannot reach a root file system for want of modules: they run what their
    initramfs holds (see `initramfs`).
    """

    release: str
    series: str
    image: Path
    modules_dir: Path | None
    has_sched_ext: bool | None
    source: str
    standalone: bool = False


def parse_release(release: str) -> tuple[int, int, int]:
    """The numbers of a release: "7.3.4+deb13-amd64" is (7, 3, 4), "7.3-rc1" is (7, 3, 0)."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if match is None:
        raise ValueError(f"not a kernel release: {release!r}")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def release_key(release: str) -> tuple[tuple[int, int, int], bool, str]:
    """Sort key of a release: by its numbers, release candidates before the release."""
    return parse_release(release), "-rc" not in release, release


def series_of(release: str) -> str:
    """The series of a release: "6.18" for "6.18.15+deb13-amd64"."""
    major, minor, _ = parse_release(release)
    return f"{major}.{minor}"


def read_config(path: Path) -> str:
    """The text of a kernel configuration, plain, `.xz` or `.gz`."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes()).decode()
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes()).decode()
    return path.read_text()


def has_sched_ext(config: str) -> bool:
    """Whether a kernel with this configuration can load sched_ext schedulers."""
    wanted = {"CONFIG_SCHED_CLASS_EXT=y", "CONFIG_DEBUG_INFO_BTF=y", "CONFIG_BPF_SYSCALL=y"}
    return wanted <= set(config.splitlines())


def kernels_in(directory: Path, source: str) -> list[Kernel]:
    """The kernels whose images lie in `directory`, newest first."""
    found = []
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return []
    for image in entries:
        match = _IMAGE.match(image.name)
        if match is None or not os.access(image, os.R_OK):
            continue
        release = match[1]
        config = _config_of(directory, release)
        modules = _modules_of(directory, release)
        # Packages build 9p as a module; of an unknown kernel the best is hoped for.
        packaged = (directory.parent / COMPLETE).exists()
        lacks_9p = packaged if config is None else "CONFIG_9P_FS=y" not in config.splitlines()
        found.append(
            Kernel(
                release=release,
                series=series_of(release),
                image=image,
                modules_dir=modules,
                has_sched_ext=None if config is None else has_sched_ext(config),
                source=source,
                standalone=modules is None and lacks_9p,
            )
        )
    return sorted(found, key=lambda kernel: release_key(kernel.release), reverse=True)


def find_kernels(directories: Sequence[Path] = ()) -> list[Kernel]:
    """Every kernel found, newest first; of one release found twice, the first place wins.

    Places: `directories` (each itself and its `boot`), the cache, the shared directory beside the
    source tree, /boot.
    """
    found: list[Kernel] = []
    for directory in directories:
        if not directory.is_dir():
            raise UserError(
                f"{directory} is not a directory", "give one that holds vmlinuz-RELEASE"
            )
        found += kernels_in(directory, str(directory))
        found += kernels_in(directory / "boot", str(directory))
    for cached in _subdirectories(kernel_cache()):
        found += kernels_in(cached / "boot", "cache")
    found += kernels_in(shared_kernels(), "shared")
    found += kernels_in(Path("/boot"), "/boot")
    unique: dict[str, Kernel] = {}
    for kernel in found:
        unique.setdefault(kernel.release, kernel)
    return sorted(unique.values(), key=lambda kernel: release_key(kernel.release), reverse=True)


def select(kernels: Iterable[Kernel], spec: str) -> Kernel:
    """The kernel that `spec` names: a path, a release, a series, `newest`, `oldest` or `running`.

    Kernels known to lack sched_ext are passed over unless named by path or release.

    Raises:
        UserError: nothing matches.
    """
    if "/" in spec:
        return _from_path(Path(spec))
    known = sorted(kernels, key=lambda kernel: release_key(kernel.release), reverse=True)
    release = platform.release() if spec == "running" else spec
    for kernel in known:
        if kernel.release == release:
            return kernel
    usable = [kernel for kernel in known if kernel.has_sched_ext is not False]
    if spec in ("newest", "oldest") and usable:
        return usable[0 if spec == "newest" else -1]
    for kernel in usable:
        if kernel.series == spec:
            return kernel
    have = ", ".join(dict.fromkeys(kernel.series for kernel in usable)) or "none"
    raise UserError(
        f"no kernel {spec!r} with sched_ext found (have: {have})", _how_to_get(spec, bool(usable))
    )


def _how_to_get(spec: str, any_usable: bool) -> str:
    if spec == SERIES[0]:
        return "build one with tools/build-kernel, or give the path of an image"
    if spec in SERIES:
        return f"fetch it with `scx_vsched vm kernels --fetch {spec}`"
    if spec in ("newest", "oldest") and not any_usable:
        return f"fetch one with `scx_vsched vm kernels --fetch {SERIES[-1]}`"
    return f"give a series ({', '.join(SERIES)}), a release, or the path of an image"


def _from_path(image: Path) -> Kernel:
    if not image.is_file():
        raise UserError(f"no kernel image at {image}", "give the path of a vmlinuz or bzImage file")
    image = image.absolute()
    for kernel in kernels_in(image.parent, str(image.parent)):
        if kernel.image == image:
            return kernel
    # An image under another name: nothing is known about it until it boots.
    return Kernel(image.name, "unknown", image, None, None, str(image.parent))


def _modules_of(directory: Path, release: str) -> Path | None:
    for modules in (
        directory.parent / "lib" / "modules" / release,
        directory / "lib" / "modules" / release,
    ):
        if (modules / "modules.dep").exists() or (modules / "kernel").is_dir():
            return modules
    return None


def _config_of(directory: Path, release: str) -> str | None:
    for suffix in ("", ".xz", ".gz"):
        try:
            return read_config(directory / f"config-{release}{suffix}")
        except (OSError, lzma.LZMAError, UnicodeDecodeError):
            continue
    return None


def _subdirectories(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except OSError:
        return []
