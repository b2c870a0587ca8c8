"""Finding kernels: releases, configurations, directories, names that users give."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm.kernels import (
    COMPLETE,
    Kernel,
    find_kernels,
    has_sched_ext,
    kernels_in,
    parse_release,
    read_config,
    release_key,
    select,
    series_of,
)
from scx_vsched.vm.modules import closure, module_name

GOOD = "CONFIG_SCHED_CLASS_EXT=y\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_BPF_SYSCALL=y\n"


def kernel(release: str, has: bool | None = True) -> Kernel:
    return Kernel(release, series_of(release), Path("/x"), None, has, "test")


def test_release_numbers() -> None:
    assert parse_release("7.3.4+deb13-amd64") == (7, 3, 4)
    assert parse_release("7.3-rc1") == (7, 3, 0)
    assert series_of("6.12.117") == "6.12"
    with pytest.raises(ValueError, match="not a kernel release"):
        parse_release("vmlinuz")


def test_releases_are_ordered_by_number() -> None:
    names = ["7.3-rc1", "6.9.1", "6.18.2", "7.3", "6.18.15", "6.12.117"]
    assert sorted(names, key=release_key) == [
        "6.9.1",
        "6.12.117",
        "6.18.2",
        "6.18.15",
        "7.3-rc1",
        "7.3",
    ]


@pytest.mark.parametrize("missing", GOOD.splitlines())
def test_sched_ext_needs_all_of_it(missing: str) -> None:
    assert has_sched_ext(GOOD)
    assert not has_sched_ext(GOOD.replace(missing, f"# {missing[:-2]} is not set"))


def test_configurations_may_be_compressed(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text(GOOD)
    (tmp_path / "a.xz").write_bytes(lzma.compress(GOOD.encode()))
    (tmp_path / "a.gz").write_bytes(gzip.compress(GOOD.encode()))
    assert {read_config(tmp_path / name) for name in ("plain", "a.xz", "a.gz")} == {GOOD}


def test_directory(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    modules = tmp_path / "lib" / "modules" / "6.18.2-amd64" / "kernel"
    boot.mkdir()
    modules.mkdir(parents=True)
    for name in ("vmlinuz-6.18.2-amd64", "bzImage-6.12.1", "vmlinuz-7.0.1-amd64"):
        (boot / name).touch()
    (boot / "initrd.img-6.18.2-amd64").touch()
    (boot / "config-6.18.2-amd64").write_text(GOOD)
    (boot / "config-6.12.1").write_text(GOOD.replace("EXT=y", "EXT=n") + "CONFIG_9P_FS=y\n")
    found = kernels_in(boot, "here")
    assert [(each.release, each.has_sched_ext) for each in found] == [
        ("7.0.1-amd64", None),
        ("6.18.2-amd64", True),
        ("6.12.1", False),
    ]
    assert [each.modules_dir for each in found] == [None, modules.parent, None]
    assert not any(each.standalone for each in found)


def test_fetched_image_without_modules_stands_alone(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    (boot / "vmlinuz-7.1.1-amd64").touch()
    (tmp_path / COMPLETE).touch()
    assert kernels_in(boot, "cache")[0].standalone


def test_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a directory"):
        find_kernels([tmp_path / "absent"])


KERNELS = [
    kernel("6.12.3"),
    kernel("7.3.4+deb13-amd64"),
    kernel("6.18.15+deb13-amd64"),
    kernel("6.18.9"),
    kernel("7.4.1", has=False),
    kernel("6.1.9", has=False),
]


@pytest.mark.parametrize(
    ("spec", "release"),
    [
        ("6.18", "6.18.15+deb13-amd64"),
        ("6.18.9", "6.18.9"),
        ("newest", "7.3.4+deb13-amd64"),
        ("oldest", "6.12.3"),
        ("7.4.1", "7.4.1"),
    ],
)
def test_select(spec: str, release: str) -> None:
    assert select(KERNELS, spec).release == release


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("7.0", "vm kernels --fetch 7.0"),
        ("7.4", "give a series"),
        ("nonsense", "give a series"),
    ],
)
def test_select_nothing(spec: str, hint: str) -> None:
    with pytest.raises(UserError, match=r"have: 7\.3, 6\.18, 6\.12") as caught:
        select(KERNELS, spec)
    assert hint in caught.value.hint


@pytest.mark.parametrize(("spec", "hint"), [("newest", "--fetch 7.3"), ("6.12", "build-kernel")])
def test_select_from_nothing(spec: str, hint: str) -> None:
    with pytest.raises(UserError, match="have: none") as caught:
        select([], spec)
    assert hint in caught.value.hint


def test_select_by_path(tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz-6.18.9"
    image.touch()
    assert select([], str(image)).release == "6.18.9"
    odd = tmp_path / "kernel"
    odd.touch()
    assert select([], str(odd)).series == "unknown"
    with pytest.raises(UserError, match="no kernel image at"):
        select([], str(tmp_path / "absent"))


def test_modules_with_what_they_depend_on(tmp_path: Path) -> None:
    def module(name: str, depends: str) -> None:
        path = tmp_path / "kernel" / name
        path.parent.mkdir(exist_ok=True)
        content = b"ELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"
        path.write_bytes(lzma.compress(content) if name.endswith(".xz") else content)

    module("9p.ko.xz", "netfs,9pnet")
    module("9pnet.ko", "")
    module("9pnet_virtio.ko.xz", "9pnet")
    module("netfs.ko.xz", "")
    module("snd-hda.ko.xz", "snd")
    found = closure(tmp_path, ("9p", "9pnet_virtio", "builtin_one"))
    assert {module_name(path) for path in found} == {"9p", "9pnet", "9pnet_virtio", "netfs"}
    assert all(content.startswith(b"ELF") for content in found.values())
    assert module_name(Path("snd-hda.ko.xz")) == "snd_hda"
