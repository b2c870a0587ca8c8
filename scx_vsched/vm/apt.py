"""Debian packages from suites that the machine itself does not use.

A private apt state (lists, cache and source list of its own) gives access to backports, or to
kernels of another release, without a change to the machine's configuration: the mirror and the
trusted keys are the machine's own, only the suites differ. Standard library only, because
`tools/setup` uses it before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "PrivateApt",
    "Source",
    "choose_sources",
    "distribution",
    "machine_distribution",
    "machine_sources",
]

# Debian's keys as the debian-archive-keyring package installs them; images without the package
# trust the same keys through /etc/apt/trusted.gpg.d, which a private state shares.
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class Source:
    """A repository that the machine uses: address, suite and component."""

    uri: str
    suite: str
    component: str


def distribution(os_release: str) -> tuple[str, str]:
    """The ID and the code name in the text of /etc/os-release (("debian", "bookworm"))."""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    return fields.get("ID", ""), fields.get("VERSION_CODENAME", "")


def machine_distribution() -> tuple[str, str]:
    """ID and code name of this machine's distribution, empty where they are not told."""
    try:
        return distribution(Path("/etc/os-release").read_text())
    except OSError:
        return "", ""


def choose_sources(targets: str, codename: str) -> tuple[Source, ...]:
    """The release's main components among `targets`, lines of "URI suite component".

    The suite with the release's own name comes first, then its updates and security suites, which
    have other addresses on many mirrors. Sources of others (third parties) are left out.
    """
    found = []
    for line in targets.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[2] == "main" and fields[1].split("-")[0] == codename:
            found.append(Source(*fields))
    return tuple(sorted(dict.fromkeys(found), key=lambda source: source.suite))


def machine_sources() -> tuple[Source, ...]:
    """Where the machine's own apt gets Debian's main component from; the release itself first.

    Raises:
        UserError: this is not Debian, or apt is absent or has no such source.
    """
    ident, codename = machine_distribution()
    if ident != "debian" or shutil.which("apt-get") is None:
        raise UserError(
            "packages are fetched with Debian's apt, and this is not a Debian system",
            "use a Debian machine, or give a kernel image of your own (vm kernels --dir DIR)",
        )
    template = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", template, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    sources = choose_sources(targets, codename)
    if not sources or sources[0].suite != codename:
        raise UserError(
            f"apt has no source for the main component of Debian {codename}",
            "add one to /etc/apt/sources.list; its mirror is used for the other suites too",
        )
    return sources


class PrivateApt:
    """apt with sources of its own, its state kept under `root`.

    `suites` are taken from the mirror that the machine uses; with `machine` its own Debian sources
    are there too, as they must be to install something beside what is installed.
    """

    def __init__(self, root: Path, suites: Sequence[str], machine: bool = False) -> None:
        self._root = root
        self._suites = tuple(suites)
        self._machine = machine

    def options(self) -> list[str]:
        """Options that make any apt command use this state alone."""
        return [
            *("-o", f"Dir::Etc::sourcelist={self._root / 'sources.list'}"),
            *("-o", f"Dir::Etc::sourceparts={self._root / 'none'}"),
            *("-o", f"Dir::State::lists={self._root / 'lists'}"),
            *("-o", f"Dir::Cache={self._root / 'cache'}"),
            # The unprivileged download user may not write into this directory.
            *("-o", "APT::Sandbox::User="),
            *("-o", "APT::Get::List-Cleanup=false"),
            *("-o", "Acquire::Languages=none"),
            *("-o", "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"),
            *("-o", "Acquire::Retries=3"),
        ]

    def update(self, max_age_s: float) -> bool:
        """Fetch the suites' lists unless they are younger than `max_age_s`; whether it did.

        Raises:
            UserError: no mirror answers, or a suite has no Release file.
        """
        text = self._sources_text()
        sources = self._root / "sources.list"
        stamp = self._root / "updated"
        same = sources.exists() and sources.read_text() == text
        if same and stamp.exists() and time.time() - stamp.stat().st_mtime < max_age_s:
            return False
        for name in ("lists/partial", "cache/archives/partial"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        sources.write_text(text)
        self._run(["apt-get", *self.options(), "-qq", "update"], "the package lists")
        stamp.touch()
        return True

    def names(self, pattern: str) -> list[str]:
        """Names of the packages that match the regular expression `pattern`, unsorted."""
        out = self._run(
            ["apt-cache", *self.options(), "search", "--names-only", pattern], "the package lists"
        )
        return [line.split(" ", 1)[0] for line in out.splitlines()]

    def versions(self, packages: Iterable[str]) -> dict[str, str]:
        """The newest version of each of `packages` that the suites list."""
        out = self._run(["apt-cache", *self.options(), "madison", *packages], "the package lists")
        found: dict[str, str] = {}
        for line in out.splitlines():
            name, version, _ = (field.strip() for field in line.split("|", 2))
            found.setdefault(name, version)  # madison lists the newest first
        return found

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Download `packages` (name or name=version) into the directory `into`.

        Raises:
            UserError: a package is not listed or cannot be fetched.
        """
        into.mkdir(parents=True, exist_ok=True)
        before = set(into.glob("*.deb"))
        self._run(
            ["apt-get", *self.options(), "-qq", "download", *packages], ", ".join(packages), into
        )
        return sorted(set(into.glob("*.deb")) - before)

    def _sources_text(self) -> str:
        known = machine_sources()
        extra = [Source(known[0].uri, suite, "main") for suite in self._suites]
        signed = f" [signed-by={_KEYRING}]" if _KEYRING.exists() else ""
        return "".join(
            f"deb{signed} {source.uri} {source.suite} {source.component}\n"
            for source in (*(known if self._machine else ()), *extra)
        )

    def _run(self, argv: list[str], what: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            argv,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if done.returncode != 0:
            reason = "; ".join(
                line.removeprefix("E: ") for line in done.stderr.splitlines() if line[:2] == "E:"
            )
            raise UserError(
                f"apt could not fetch {what}: {reason or done.stderr.strip()[-300:]}",
                "check the network and that the machine's own `apt-get update` works",
            )
        return done.stdout
