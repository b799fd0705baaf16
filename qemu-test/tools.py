# SPDX-License-Identifier: MIT
"""Debian's own initramfs tools, in a root of their own, which is unpacked from packages and not
installed; what they make there, with files of ours put in, leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import host
import images

# sh -c IN_ROOT sh ROOT MODULES FILES COMMAND FOLDER: runs a command in the root, over which lie FILES;
# the folder is an empty one, to work on.
IN_ROOT = """set -e
mount -t tmpfs tmpfs "$5"
mkdir "$5/upper" "$5/work" "$5/root"
mount -t overlay -o "lowerdir=$1,upperdir=$5/upper,workdir=$5/work" overlay "$5/root"
cd "$5/root"
cp -r "$3/." .
for folder in dev proc sys; do mount --rbind "/$folder" "$folder"; done
for folder in run tmp var/tmp; do mount -t tmpfs tmpfs "$folder"; done
for folder in usr/lib/modules lib/modules; do # one and the same where / is merged
	mkdir -p "$folder"
	mountpoint -q "$folder" || mount --bind "$2" "$folder"
done
# A root of its own and not a chroot, in which no user namespace can be made.
mkdir old
pivot_root . old
umount -l /old
exec /usr/bin/env -i PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root sh -c "$4"
"""


def unpacked(*words: str) -> Path:
    """The folder that the script peers gives."""
    done = subprocess.run([host.HERE / "bench" / "peers", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode:
        raise host.PeerMissing(done.stderr.strip())
    return Path(done.stdout.strip())


def in_root(root: Path, modules: Path, command: str, files: dict[str, Path | str] | None = None) -> bytes:
    """What the command prints there. `files`: by their path in the root, a file or folder of this
    machine, or what is to stand in it."""
    unshare = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    with tempfile.TemporaryDirectory() as put, tempfile.TemporaryDirectory() as work:
        for path, source in (files or {}).items():
            target = Path(put + path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, str):
                target.write_text(source)
            elif source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copy(source, target)
        done = subprocess.run([*unshare, "sh", "-c", IN_ROOT, "sh", root, modules.parent, put, command, work],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise images.ImageFailed(done.stderr.decode())
    return done.stdout


def mirror() -> str:
    """Where this machine has its packages from, as debian.sh finds it."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(ORIGIN)",
                             "Created-By: Packages"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return next(line.split()[0] for line in listed.splitlines() if line.endswith(" Debian") and "security" not in line)
