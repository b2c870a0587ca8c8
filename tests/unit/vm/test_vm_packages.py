"""Debian's kernel packages: names of both schemes, releases in order, sources."""

from __future__ import annotations

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm.apt import Source, choose_sources, distribution
from scx_vsched.vm.fetch import KernelPackages, fetch, newest, parse_packages

# As `apt-cache search --names-only` lists them: one package up to 6.18, split ones after, images
# of old point releases without their modules, a kernel that is not signed yet, other flavours.
LISTED = """
linux-image-6.18.9+deb13-amd64
linux-image-6.18.15+deb13-amd64
linux-image-6.18.15+deb13-cloud-amd64
linux-image-6.18.15+deb13-rt-amd64
linux-image-7.1.8+deb13-amd64
linux-binary-7.1.8+deb13-amd64
linux-image-7.1.13+deb13-amd64
linux-binary-7.1.13+deb13-amd64
linux-image-7.2.12+deb13-amd64
linux-image-7.2.12+deb13-amd64-dbg
linux-binary-7.2.12+deb13-amd64
linux-binary-unsigned-7.2.12+deb13-amd64
linux-modules-7.2.12+deb13-amd64
linux-base-7.2.12+deb13-amd64
linux-image-7.2.13+deb14-amd64
linux-binary-7.2.13+deb14-amd64
linux-binary-7.2.14+deb14-amd64
linux-modules-7.2.13+deb14-amd64
linux-base-7.2.13+deb14-amd64
linux-binary-unsigned-7.3.4+deb13-amd64
linux-modules-7.3.4+deb13-amd64
linux-base-7.3.4+deb13-amd64
linux-image-amd64
linux-base-rt-amd64
"""
NAMES = LISTED.split()


def test_releases_newest_first_without_other_flavours() -> None:
    assert [each.release for each in parse_packages(NAMES)] == [
        "7.3.4+deb13-amd64",
        "7.2.14+deb14-amd64",
        "7.2.13+deb14-amd64",
        "7.2.12+deb13-amd64",
        "7.1.13+deb13-amd64",
        "7.1.8+deb13-amd64",
        "6.18.15+deb13-amd64",
        "6.18.9+deb13-amd64",
    ]


@pytest.mark.parametrize(
    ("series", "names"),
    [
        ("6.18", ("linux-image-6.18.15+deb13-amd64",)),
        ("7.1", ("linux-binary-7.1.13+deb13-amd64",)),
        # 7.2.14 is newer, but its modules are not there.
        (
            "7.2",
            (
                "linux-binary-7.2.13+deb14-amd64",
                "linux-modules-7.2.13+deb14-amd64",
                "linux-base-7.2.13+deb14-amd64",
            ),
        ),
        (
            "7.3",
            (
                "linux-binary-unsigned-7.3.4+deb13-amd64",
                "linux-modules-7.3.4+deb13-amd64",
                "linux-base-7.3.4+deb13-amd64",
            ),
        ),
    ],
)
def test_what_to_download(series: str, names: tuple[str, ...]) -> None:
    wanted = newest(parse_packages(NAMES), series)
    assert wanted is not None
    assert wanted.names == names


def test_series_that_is_not_listed() -> None:
    assert newest(parse_packages(NAMES), "6.17") is None


def test_one_package_is_downloaded_once() -> None:
    assert KernelPackages("6.18.1", "a", "a", "a").names == ("a",)


@pytest.mark.parametrize(
    ("series", "message"), [("6.12", "built with tools/build-kernel"), ("8.0", "no packages")]
)
def test_series_that_debian_does_not_package(series: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fetch(series, print)
    assert "7.3" in caught.value.hint


TARGETS = """
http://mirror.example/debian/ bookworm-updates main
http://mirror.example/debian/ bookworm main
http://mirror.example/debian/ bookworm contrib
http://mirror.example/debian-security/ bookworm-security main
https://third.example/ nodistro main
https://other.example/apt/ cloud-sdk-bookworm main
"""


def test_own_sources_of_the_machine() -> None:
    base = "http://mirror.example/debian/"
    assert choose_sources(TARGETS, "bookworm") == (
        Source(base, "bookworm", "main"),
        Source("http://mirror.example/debian-security/", "bookworm-security", "main"),
        Source(base, "bookworm-updates", "main"),
    )
    assert choose_sources(TARGETS, "trixie") == ()


def test_distribution() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
    assert distribution(text) == ("debian", "bookworm")
    assert distribution("ID=fedora\n") == ("fedora", "")
