# SPDX-License-Identifier: MIT
"""Four guests of libvirt's from one kernel, one initramfs and one image, each with a map of its own: by
examples/libvirt.xml, on the command line and as a table behind the initramfs. `make check-tools`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import guest
import host
from common import of_x86_64

pytestmark = [of_x86_64("the example is of an x86-64 machine"),
              pytest.mark.tools]

# A libvirtd with nothing of this machine's, for as long as its input is open.
DAEMON = """set -e
for folder in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do
	mount -t tmpfs tmpfs $folder
done
mkdir /run/lock /etc/libvirt/qemu
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
dynamic_ownership = 0
stdio_handler = "file"
END
echo 'auth_unix_rw = "none"' >/etc/libvirt/libvirtd.conf
libvirtd -f /etc/libvirt/libvirtd.conf -d
until virsh -q -c qemu:///system list >/dev/null 2>&1; do sleep 0.2; done
for domain; do virsh -q -c qemu:///system create "$domain"; done
cat >/dev/null
"""
# Without cx16 as in guest.py, and the probe's port.
MORE = """  <cpu mode='custom'><model>qemu64</model><feature policy='disable' name='cx16'/></cpu>
  <devices>
    <serial type='unix'>
      <source mode='bind' path='{socket}'/>
      <target port='1'/>
    </serial>
"""


def connect(path, timeout=180):
    """To the probe's port, before it reports: what nobody reads is lost."""
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end, "no guest"
        time.sleep(0.1)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    connection.connect(str(path))
    return connection


def ask(connection, question):
    """The probe's answer, once it has reported."""
    with connection, connection.makefile("rb") as lines:
        json.loads(lines.readline())
        connection.sendall(question.encode() + b"\n")
        return json.loads(lines.readline())


NAMES = {"one": 0, "two": 3, "three": 5, "four": 7}  # and what the disk's 100000 is seen as


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="idmap-init-"))  # a socket's path is short
    yield path
    shutil.rmtree(path)


def test_four_guests(folder, kernels, initramfs, root_tree, image, ran):
    if os.getuid() or not shutil.which("libvirtd"):
        pytest.skip("no libvirt, or not root: run ./install-packages tools")
    kernel, pattern = kernels("6.12"), (host.REPOSITORY / "examples/libvirt.xml").read_text()
    shutil.copy(kernel.vmlinuz, folder / "vmlinuz")
    shutil.copy(image(root_tree(), "erofs"), folder / "root.erofs")
    plain = initramfs(kernel).read_bytes()
    (folder / "initramfs").write_bytes(plain)
    for name, seen in NAMES.items():
        text = pattern.replace("<name>one<", f"<name>{name}<").replace("/srv/", f"{folder}/").replace(
            "  <devices>\n", MORE.format(socket=folder / f"{name}.socket")).replace("/console", f"/{name}.console")
        if name in ("three", "four"):  # the table stands behind the initramfs
            table = folder / f"{name}.conf"
            table.write_text(f"/dev/vda / erofs idmap=100000:{seen}:65000\n")
            subprocess.run([host.REPOSITORY / "init/mkinitramfs", "-i", "none", "-c", table, "-o", folder / "table.cpio"],
                           check=True)
            (folder / f"initramfs-{name}").write_bytes(plain + (folder / "table.cpio").read_bytes())
            text = text.replace(f"{folder}/initramfs<", f"{folder}/initramfs-{name}<").replace(
                " idmap=100000:0:65536", "")
        (folder / f"{name}.xml").write_text(text.replace("100000:0:65536", f"100000:{seen}:65000"))
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", DAEMON, "sh"]
    with guest.all_slots(), open(folder / "log", "wb") as log, subprocess.Popen(
            [*command, *sorted(folder.glob("*.xml"))], stdin=subprocess.PIPE, stdout=log, stderr=log) as daemon:
        try:
            ports = {name: connect(folder / f"{name}.socket") for name in sorted(NAMES)}
            owners = {name: ask(port, "stat /owners/user")["uid"] for name, port in ports.items()}
        finally:
            daemon.kill()
            print((folder / "log").read_text())
    assert owners == {name: 1000 + seen for name, seen in NAMES.items()}
    ran("libvirt", kernel.name, "examples/libvirt.xml")
