"""Builds Debian's linux-source-6.12 with sched_ext on; started by `tools/build-kernel`."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from setup_machine import NEWER, Steps

from scx_vsched.errors import UserError
from scx_vsched.vm.apt import PrivateApt, machine_distribution
from scx_vsched.vm.kernels import SERIES, kernels_in
from scx_vsched.vm.paths import cache_dir, kernel_cache

SOURCE = f"linux-source-{SERIES[0]}"
PACKAGES = ("make", "gcc", "bc", "bison", "flex", "libelf-dev", "libssl-dev", "pahole")
FRAGMENT = Path(__file__).with_name("kernel.config")


def not_taken(fragment: str, config: str) -> list[str]:
    """The settings of `fragment` that the finished `config` does not have."""
    have = set(config.splitlines())
    wanted = re.findall(r"^CONFIG_\w+=.+$", fragment, re.MULTILINE)
    return [
        setting
        for setting in wanted
        if (setting.endswith("=n") and setting[:-1] + "y" in have)
        or (not setting.endswith("=n") and setting not in have)
    ]


def build(work: Path, jobs: int) -> Path:
    """Fetch, configure and build in `work`; the directory of the finished kernel."""
    steps = Steps()
    _, codename = machine_distribution()
    suites = [NEWER[codename]] if codename in NEWER else []
    apt = PrivateApt(cache_dir() / "apt-setup", suites, machine=True)
    apt.update(max_age_s=3600)
    again = "see the log, then run this again"
    steps.run(
        "build packages",
        [
            *("apt-get", *apt.options(), "-o", "DPkg::Lock::Timeout=300", "install", "--yes"),
            *("--no-install-recommends", *PACKAGES),
        ],
        "run as root; " + again,
    )
    print(f"  downloading {SOURCE} …", flush=True)
    (deb,) = apt.download([SOURCE], work)
    steps.run("unpacking the package", ["dpkg-deb", "--extract", str(deb), str(work)], again)
    archive = work / "usr" / "src" / f"{SOURCE}.tar.xz"
    steps.run("unpacking the source", ["tar", "-xf", str(archive), "-C", str(work)], again)
    tree = work / SOURCE
    tools = Path(sys.executable).parent
    search = f"PATH={tools}:{os.environ['PATH']}"  # vng starts others of its package by name
    steps.run(
        "configuring",
        ["env", "-C", str(tree), search, "vng", "--kconfig", "--config", str(FRAGMENT)],
        again,
    )
    config = (tree / ".config").read_text()
    missing = not_taken(FRAGMENT.read_text(), config)
    if missing:
        raise UserError(f"the kernel's configuration lacks {', '.join(missing)}", again)
    steps.run(
        "building (10 to 40 minutes)",
        ["make", "-C", str(tree), f"-j{jobs}", "bzImage"],
        again,
    )
    release = subprocess.run(
        ["make", "-s", "-C", str(tree), "kernelrelease"], capture_output=True, text=True, check=True
    ).stdout.strip()
    boot = kernel_cache() / f"{release}-built" / "boot"
    boot.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tree / "arch/x86/boot/bzImage", boot / f"bzImage-{release}")
    shutil.copyfile(tree / ".config", boot / f"config-{release}")
    return boot


def main() -> int:
    """Build; 0 when the kernel is in the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parallel compilers")
    options = parser.parse_args()
    # whoever stops it does not find gigabytes left behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache_dir()) as scratch:
            boot = build(Path(scratch), options.jobs)
    except UserError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print(f"Linux {kernels_in(boot, 'cache')[0].release} is in {boot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
