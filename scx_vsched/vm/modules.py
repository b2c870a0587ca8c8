"""The few modules that a VM needs to boot, with what they depend on, uncompressed.

A distribution kernel has 4,000 compressed modules; a VM needs the dozen that reach its root file
system over 9p. They are taken out uncompressed, because the initramfs that virtme-ng makes loads
them with an insmod that cannot decompress.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BOOT_MODULES", "closure", "module_name", "read_module", "stage_modules"]

BOOT_MODULES = ("9p", "9pnet_virtio", "virtio_pci", "virtio_console", "overlay")
"""Root file system over 9p, script output over virtio-serial, writable overlays."""

_DEPENDS = re.compile(rb"\0depends=([\w,-]*)\0")


def module_name(path: Path) -> str:
    """The name of the module in a file: "9pnet_virtio" for "9pnet-virtio.ko.xz"."""
    return path.name.split(".ko", 1)[0].replace("-", "_")


def read_module(path: Path) -> bytes:
    """The ELF object in `path`, decompressed."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True).stdout
    if path.suffix == ".gz":
        return subprocess.run(["gzip", "-dc", str(path)], capture_output=True, check=True).stdout
    return path.read_bytes()


def closure(tree: Path, wanted: tuple[str, ...] = BOOT_MODULES) -> dict[Path, bytes]:
    """The `wanted` modules under `tree` and all they depend on, by path, with their contents.

    A wanted module that is not there is built into the kernel. Dependencies come from the modules'
    own `depends=` entries, so no modules.dep is needed (packages have none).
    """
    files = {module_name(path): path for path in tree.rglob("*.ko*")}
    taken: dict[Path, bytes] = {}
    todo = [name for name in wanted if name in files]
    while todo:
        path = files[todo.pop()]
        if path in taken:
            continue
        taken[path] = read_module(path)
        match = _DEPENDS.search(taken[path])
        names = match[1].decode().split(",") if match else []
        todo += [name.replace("-", "_") for name in names if name]
    return taken


def stage_modules(tree: Path, release: str, root: Path) -> Path:
    """Copy what a boot needs from the module directory `tree` to `root`/lib/modules/`release`.

    Returns that directory, indexed by depmod.

    Raises:
        UserError: depmod is missing or fails.
    """
    target = root / "lib" / "modules" / release
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (tree / name).exists():
            shutil.copyfile(tree / name, target / name)
    for path, content in closure(tree).items():
        relative = path.relative_to(tree)
        copy = target / relative.parent / (path.name.split(".ko", 1)[0] + ".ko")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    depmod = shutil.which("depmod", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if depmod is None:
        raise UserError("depmod is not installed", "install the package kmod")
    done = subprocess.run(
        [depmod, "-b", str(root), release], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UserError(f"depmod failed for {target}: {done.stderr.strip()[-300:]}")
    return target
