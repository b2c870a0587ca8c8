"""Installs what the project needs on Debian: packages as root, then the environment `.venv`.

Started by `tools/setup` with any Python >= 3.12, before anything is installed, so it uses the
standard library and those parts of the package that do. The machine's own apt lists and sources
stay as they are: newer QEMU and libbpf than bookworm has come from its backports through an apt
state of our own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scx_vsched.errors import UserError  # noqa: E402 - needs the path above
from scx_vsched.vm.apt import PrivateApt, machine_distribution  # noqa: E402
from scx_vsched.vm.paths import cache_dir  # noqa: E402

VENV = ROOT / ".venv"
LOG = cache_dir() / "setup.log"

# What a boot needs, what real programs are run in VMs, and what one of them and the C extension
# are compiled with.
PACKAGES = (
    *("kmod", "cpio", "busybox-static", "file", "xz-utils", "zstd"),
    *("stress-ng", "sysbench", "rt-tests", "gcc", "libc6-dev"),
)
CLANG, MIN_CLANG = "clang-19", 16
QEMU = ("qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios")
MIN_QEMU = 10
LIBBPF, MIN_LIBBPF = "libbpf1", (1, 4)
# Releases whose own QEMU and libbpf are too old, and the suite that has newer ones.
NEWER = {"bookworm": "bookworm-backports"}
TAIL_LINES = 20


class Steps:
    """Numbered lines on the terminal, everything else in the log."""

    def __init__(self) -> None:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        self._log = LOG.open("w")
        self._tty = sys.stdout.isatty()

    def run(self, title: str, argv: list[str], advice: str) -> None:
        """Run `argv` as the step `title`; UserError with the log's tail if it fails."""
        self._log.write(f"\n== {title}\n$ {' '.join(argv)}\n")
        self._log.flush()
        started = time.monotonic()
        print(f"  {title} …", end="" if self._tty else "\n", flush=True)
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        )
        while process.poll() is None:
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                if self._tty:
                    seconds = f"{time.monotonic() - started:.0f}"
                    print(f"\r  {title} … {seconds} s", end="", flush=True)
        if self._tty:
            print()
        if process.returncode != 0:
            tail = LOG.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            raise UserError(
                f"{title} failed; the end of {LOG}:\n" + "\n".join(f"  | {line}" for line in tail),
                advice,
            )
        seconds = f"{time.monotonic() - started:.0f}"
        print(f"  {title}: done in {seconds} s", flush=True)


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Version of each of `packages` that dpkg has installed."""
    if shutil.which("dpkg-query") is None:
        return {}
    out = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status} ${Version}\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    rows = (line.split() for line in out.splitlines())
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}


def numbers(version: str) -> tuple[int, ...]:
    """The upstream numbers of a Debian version: "1:10.0.2+ds-2" is (10, 0, 2)."""
    upstream = version.partition(":")[2] or version
    match = re.match(r"[\d.]+", upstream)
    return tuple(int(part) for part in match[0].strip(".").split(".")) if match else ()


def has_clang() -> bool:
    """Whether some clang on PATH is new enough."""
    for name in ("clang", *(f"clang-{major}" for major in range(MIN_CLANG, 31))):
        found = shutil.which(name)
        if found is None:
            continue
        text = subprocess.run(
            [found, "--version"], capture_output=True, text=True, check=False
        ).stdout
        match = re.search(r"version (\d+)", text)
        if match is not None and int(match[1]) >= MIN_CLANG:
            return True
    return False


def missing_packages(codename: str) -> list[str]:
    """What apt has to install, with the suite to take it from where that matters."""
    have = installed((*PACKAGES, *QEMU, LIBBPF))
    suite = f"/{NEWER[codename]}" if codename in NEWER else ""
    wanted = [name for name in PACKAGES if name not in have]
    if not has_clang():
        wanted.append(CLANG)
    if numbers(have.get(QEMU[0], "0")) < (MIN_QEMU,):
        wanted += [f"{name}{suite}" for name in QEMU]
    if numbers(have.get(LIBBPF, "0")) < MIN_LIBBPF:
        wanted.append(f"{LIBBPF}{suite}")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        wanted.append(f"libpython3.{sys.version_info.minor}-dev")
    return wanted


def install_packages(steps: Steps) -> None:
    """Install what is missing; nothing is touched when nothing is."""
    ident, codename = machine_distribution()
    if ident != "debian":
        raise UserError(
            "this set-up knows Debian only",
            "install by hand: " + " ".join((CLANG, *QEMU, LIBBPF, *PACKAGES)),
        )
    wanted = missing_packages(codename)
    if not wanted:
        return
    if os.geteuid() != 0:
        raise UserError(f"packages are missing: {' '.join(wanted)}", "run tools/setup as root")
    apt = PrivateApt(
        cache_dir() / "apt-setup", [NEWER[codename]] if codename in NEWER else [], machine=True
    )
    print("  package lists …", flush=True)
    apt.update(max_age_s=3600)
    steps.run(
        f"{len(wanted)} packages ({', '.join(name.split('/')[0] for name in wanted)})",
        [
            *("apt-get", *apt.options(), "-o", "DPkg::Lock::Timeout=300", "install"),
            *("--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"),
            *wanted,
        ],
        "check the network and `dpkg --configure -a`, then run this again",
    )


def install_environment(steps: Steps) -> None:
    """Make `.venv` with the project and its C extension in it, unless both are up to date."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    inputs = [ROOT / "pyproject.toml", *sorted((ROOT / "topology/native").iterdir())]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    stamp = VENV / "setup-stamp"
    if stamp.exists() and stamp.read_text().split()[:1] == [wanted]:
        return
    python = VENV / "bin" / "python"
    advice = "remove .venv and run this again; PYTHON=/path/to/python3 chooses another Python"
    if not python.exists():
        steps.run(
            f"Python environment .venv (Python {version})",
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            "on Debian's own Python: apt-get install python3-venv; or " + advice,
        )
    steps.run(
        "Python packages",
        [
            *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--editable", ".[vm,libbpf,plot,cluster,pythonbpf,dev]"),
        ],
        "check the network (packages come from the index that pip is configured for); or " + advice,
    )
    stamp.write_text(f"{wanted} {version}\n")


def main() -> int:
    """Set up; 0 when all is there."""
    started = time.monotonic()
    print(f"Setting up (log: {LOG})", flush=True)
    try:
        steps = Steps()
        install_packages(steps)
        install_environment(steps)
    except UserError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    print(f"All is set up ({time.monotonic() - started:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
