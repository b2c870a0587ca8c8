"""An initramfs that holds a whole user space: for kernels whose modules cannot be had.

Debian drops the modules of older point releases from its mirrors while their signed images stay.
Such a kernel has neither 9p nor a disk driver, but it runs what its initramfs holds: this Python,
its standard library, libbpf, busybox and the package; events leave through a second serial port.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.job import GUEST_DIR
from scx_vsched.vm.paths import PACKAGE_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Archive", "user_space", "write_initramfs"]

# What no guest code imports, and what would double the archive.
_LEFT_OUT = {
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data"),
    *("site-packages", "dist-packages", "distutils"),
}
_APPLETS = ("sh", "mount", "mkdir", "ln", "stty", "nice", "sleep", "poweroff", "true")
_PROGRAMS = ("hackbench",)

_INIT = """#!/bin/sh
mkdir -p /proc /sys /dev /tmp /run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=1777 tmp /tmp
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
stty -F /dev/ttyS1 raw -echo
ln -s /dev/ttyS1 {directory}/events.jsonl
export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
export PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1
{python} -m scx_vsched.vm.agent {directory}/job.json
poweroff -f
"""


class Archive:
    """A cpio archive in the "newc" format that the kernel unpacks (initramfs, buffer-format)."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def add(self, path: str, mode: int, content: bytes = b"") -> None:
        """Add an entry at the absolute `path`, its parents first; a second one is ignored."""
        name = path.strip("/")
        if not name or name in self._names:
            return
        parent = name.rpartition("/")[0]
        if parent:
            self.add(parent, stat.S_IFDIR | 0o755)
        self._names.add(name)
        self._parts.append(self._entry(name, mode, content, len(self._names)))

    def add_file(self, path: Path, at: str | None = None) -> None:
        """Add a file or symbolic link of this machine, by default under its own path.

        What a link points to, and what stands in for a parent directory, is added as well.
        """
        target = at or str(path)
        if path.is_symlink() and at is None:
            self.add(target, stat.S_IFLNK | 0o777, str(path.readlink()).encode())
            resolved = (path.parent / path.readlink()).absolute()
            self.add_file(Path(_normal(resolved)))
            return
        real = path.resolve()
        self.add(target, stat.S_IFREG | (real.stat().st_mode & 0o777), real.read_bytes())

    def add_tree(self, root: Path) -> None:
        """Add the files below `root`, without those that no guest code imports."""
        for path in sorted(root.iterdir()):
            if path.name in _LEFT_OUT or path.name.startswith(("config-", ".")):
                continue
            if path.is_dir() and not path.is_symlink():
                self.add_tree(path)
            elif path.suffix not in (".a", ".o") and ".opt-" not in path.name:
                self.add_file(path)

    def data(self) -> bytes:
        """The finished archive."""
        return b"".join([*self._parts, self._entry("TRAILER!!!", 0, b"", 0)])

    @staticmethod
    def _entry(name: str, mode: int, content: bytes, inode: int) -> bytes:
        raw = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        return _padded(header + raw) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _normal(path: Path) -> str:
    """`path` without "..", its links kept."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return str(Path(*parts))


def user_space() -> Iterator[Path]:
    """Trees and files that the agent and its tasks need, besides what `_libraries` finds."""
    yield Path(sysconfig.get_path("stdlib"))
    yield PACKAGE_ROOT / "scx_vsched"
    yield PACKAGE_ROOT / "topology"
    site = Path(sysconfig.get_path("purelib"))
    yield from (path for path in site.glob("__editable__*") if path.is_file())
    yield from site.glob("pylibbpf*")
    yield from (Path(sys.prefix) / name for name in ("pyvenv.cfg", "bin/python"))
    yield Path(sys.executable)


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """The shared libraries that `programs` are linked with, loader included."""
    out = subprocess.run(
        ["ldd", *(str(path) for path in programs)], capture_output=True, text=True, check=False
    ).stdout
    return {Path(path) for path in re.findall(r"(?:=> )?(/\S+) \(0x", out)}


def _libbpf() -> list[Path]:
    found = subprocess.run(
        [shutil.which("ldconfig", path="/usr/sbin:/sbin") or "ldconfig", "-p"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return [Path(path) for path in re.findall(r"libbpf\.so\.1 .*=> (\S+)", found)]


def write_initramfs(directory: Path, out: Path) -> None:
    """Write an archive with the user space and the job in `directory` to `out`.

    Raises:
        UserError: busybox is not installed.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise UserError("busybox is not installed", "run tools/setup (package busybox-static)")
    archive = Archive()
    # Merged /usr: the loader's path goes through /lib64.
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            archive.add(f"/{name}", stat.S_IFLNK | 0o777, str(Path("/", name).readlink()).encode())
    linked = [Path(sys.executable).resolve(), *_libbpf()]
    for path in user_space():
        if path.is_dir():
            archive.add_tree(path)
            linked += path.rglob("*.so")
        elif path.exists():
            archive.add_file(path)
    for program in _PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            linked.append(Path(found))
            archive.add_file(Path(found))
    for library in sorted({*_libraries(linked), *_libbpf()}):
        # Through no linked directory: /lib may be a link whose target is not unpacked yet.
        archive.add_file(library, at=str(library.parent.resolve() / library.name))
    archive.add_file(Path(busybox), at="/usr/bin/busybox")
    for applet in _APPLETS:
        archive.add(f"/usr/bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    for path in directory.iterdir():
        if path.name != "events.jsonl":
            archive.add_file(path, at=f"{GUEST_DIR}/{path.name}")
    init = _INIT.format(directory=GUEST_DIR, root=PACKAGE_ROOT, python=sys.executable)
    archive.add("/init", stat.S_IFREG | 0o755, init.encode())
    out.write_bytes(archive.data())
