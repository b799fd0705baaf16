# SPDX-License-Identifier: MIT
"""`make deb`: what is in the packages, that lintian finds nothing, that two builds give the same bytes, and
that they go in and out of a clean root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

import host
import tools
from common import of_x86_64

pytestmark = of_x86_64("no guest is booted here")

FILES = {
    "idmap-init": {
        "usr/sbin/idmap", "usr/sbin/idmap-init", "usr/sbin/idmap-mkinitramfs",
        "usr/share/man/man5/idmap.conf.5.gz", "usr/share/man/man8/idmap.8.gz", "usr/share/man/man8/idmap-init.8.gz",
        "usr/share/man/man8/idmap-mkinitramfs.8.gz", "usr/share/initramfs-tools/hooks/idmap",
        "usr/share/initramfs-tools/scripts/local-bottom/idmap", "usr/share/initramfs-tools/scripts/init-bottom/idmap", "usr/lib/dracut/modules.d/90idmap/module-setup.sh",
        "usr/lib/dracut/modules.d/90idmap/idmap-apply", "usr/lib/dracut/modules.d/90idmap/idmap-pivot.sh",
        "usr/lib/dracut/modules.d/90idmap/idmap-verify.sh", "usr/lib/dracut/modules.d/90idmap/idmap-verify.service",
        "usr/lib/dracut/modules.d/90idmap/idmap-apply.service", "usr/lib/systemd/system-shutdown/idmap"},
    "libidmap-dev": {"usr/include/idmap.h", "usr/lib/libidmap.a", "usr/share/pkgconfig/idmap.pc"},
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Two builds, in folders of other names: {package: its file} of each."""
    for tool in ("dpkg-buildpackage", "dh", "lintian"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}: run ./install-packages deb")
    builds = []
    for name in ("one", "another"):
        folder = tmp_path_factory.mktemp("deb") / name
        copy = folder / "source"
        shutil.copytree(host.REPOSITORY, copy, ignore=shutil.ignore_patterns(".git", "build", "build-*", "__pycache__"))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "O"}
        done = subprocess.run(["make", "-s", "deb"], cwd=copy, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        builds.append({path.name.partition("_")[0]: path for path in (copy / "build" / "deb").glob("*.deb")})
    return builds


def test_what_is_in_it(packages):
    for name, files in FILES.items():
        listing = subprocess.run(["dpkg-deb", "--contents", packages[0][name]], check=True, stdout=subprocess.PIPE,
                                 text=True).stdout
        found = {line.split()[5][2:] for line in listing.splitlines() if not line.startswith("d")}
        assert {path for path in found if not path.startswith(("usr/share/doc/", "usr/share/lintian/"))} == files


def test_same_bytes(packages):
    one, another = packages
    assert one.keys() == another.keys() == FILES.keys()
    for name in FILES:
        assert one[name].read_bytes() == another[name].read_bytes()


def test_lintian(packages):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", *packages[0].values()],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, re.findall("^[EW]: .*", done.stdout, re.M)) == (0, []), done.stdout


def test_version():
    version = re.search(r'"(.*)"', (host.REPOSITORY / "idmap" / "version.h").read_text())[1]
    assert (host.REPOSITORY / "debian" / "changelog").read_text().startswith(f"idmap-init ({version}) ")


def test_in_and_out(packages, kernels):
    """Installed, used and purged in a root that dpkg has never seen."""
    if os.getuid():
        pytest.skip("only root can install packages")
    try:
        root = tools.unpacked("--root", "trixie", "initramfs-tools", "busybox")
    except host.PeerMissing as missing:
        pytest.skip(f"no root: {missing}")
    command = """set -e
        mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates; touch /var/lib/dpkg/status
        dpkg --force-depends -i /deb/*.deb >&2
        idmap id 100000:0:10 100003; idmap --version; ls /usr/share/man/man8/idmap.8.gz
        dpkg -P idmap-init libidmap-dev >&2
        find / -xdev -name '*idmap*' ! -path '/proc/*' ! -path '/tmp/*' ! -path '/deb/*' ! -path '/sys/*'
    """
    out = tools.in_root(root, kernels("6.12").modules, command, {
        **{f"/deb/{path.name}": path for path in packages[0].values()}}).decode().splitlines()
    assert out[0].startswith("uid 100003 on disk is seen as 3") and "idmap 0." in " ".join(out)
    assert out[-1] == "/usr/share/man/man8/idmap.8.gz"  # and behind it nothing is left
