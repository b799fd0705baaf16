# SPDX-License-Identifier: MIT
"""Images of a whole Debian, whose owners are shifted as they are unpacked: in a user namespace, where
the kernel stores capabilities and the ids of ACLs as that namespace's, and nothing is chowned."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import host
import images

# sh -c SHIFT sh BASE COMMAND...: runs it in a user namespace whose 0 is BASE outside, by the recipe of
# idmap-init(8); who may have which ids is the namespace's own here, and not this machine's.
SHIFT = """set -e
base=$1
shift
work=$(mktemp -d)
mount -t tmpfs tmpfs "$work"
for file in subuid subgid; do
	echo "root:$base:65536" >"$work/$file"
	mount --bind "$work/$file" "/etc/$file"
done
exec unshare --map-users="$base,0,65536" --map-groups="$base,0,65536" -S 0 -G 0 -- "$@"
"""

# The probe as a service of systemd's.
SERVICE = """[Service]
ExecStart=/usr/local/sbin/probe
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
[Install]
WantedBy=multi-user.target
"""

# Unpacks what it reads into the folder where it is, whose path may not be open to everyone, and puts
# in what a test looks at.
FILL = """set -e
tar -xp --xattrs --xattrs-include='*' --acls --exclude='./dev/*'
mkdir -p etc/init.d etc/systemd/system usr/lib/systemd/system-shutdown
cat >etc/systemd/system/probe.service <<END
SERVICE
END
[ ! -d etc/runlevels ] || cat >etc/init.d/probe <<END
#!/sbin/openrc-run
command=/usr/local/sbin/probe
command_background=true
pidfile=/run/probe.pid
END
[ ! -d etc/runlevels ] || chmod +x etc/init.d/probe
exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin sh -ec '
	useradd -m -u 1000 user
	useradd -m -u 1001 other
	echo "user ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/user
	cp /usr/bin/cat /usr/local/bin/cat-all
	setcap cap_dac_read_search+ep /usr/local/bin/cat-all
	echo "for user" >/srv/acl
	chmod 600 /srv/acl
	setfacl -m u:user:r /srv/acl
	echo guest >/etc/hostname
	echo 127.0.0.1 localhost guest >/etc/hosts
	echo uninitialized >/etc/machine-id
	: >/etc/resolv.conf
	if [ -d /etc/runlevels ]; then
		ln -s /etc/init.d/probe /etc/runlevels/default/
	else
		systemctl -q enable probe.service systemd-networkd.service
	fi'
"""

MAKE = {
    "erofs": "mkfs.erofs --quiet \"$2\" \"$1\"",
    "ext4": "truncate -s 1G \"$2\"; mkfs.ext4 -q -F -d \"$1\" -E \"root_owner=$3:$3\" \"$2\"",
}


def root_tar(suite: str, *packages: str) -> Path:
    folder = host.fetch("debian-root", suite, *packages)
    if isinstance(folder, str):
        raise host.PeerMissing(folder)
    return folder / "root.tar"


def make_tree(tar: Path, files: dict[str, Path], base: int, tree: Path) -> Path:
    """Unpacks it into a new folder, owned from `base` on, and adds programs: as root."""
    tree.mkdir()
    os.chown(tree, base, base)
    command = ["sh", "-c", FILL.replace("SERVICE\n", SERVICE)]
    shifted = ["unshare", "--mount", "sh", "-c", SHIFT, "sh", str(base), *command]
    with open(tar, "rb") as file:
        done = subprocess.run(shifted if base else command, stdin=file, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, cwd=tree)
    if done.returncode:
        raise images.ImageFailed(done.stdout)
    for path, file in files.items():
        shutil.copy(file, f"{tree}{path}")
        os.chown(f"{tree}{path}", base, base)
    return tree


def make_image(tree: Path, kind: str, base: int, image: Path) -> Path:
    done = subprocess.run(["sh", "-ec", MAKE[kind], "sh", tree, image, str(base)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise images.ImageFailed(done.stdout)
    return image
