# SPDX-License-Identifier: MIT
"""An idmapped mount against chown -R over an overlay and against cp -a and chown: the same guest,
the same run, one erofs image of many files on kernel 6.1. Seconds are the guest's, under -icount,
where an instruction is a nanosecond, and every file has been read before; bytes are the blocks
that the tmpfs below the overlay has grown by, its inodes not counted."""

from __future__ import annotations

import re
import subprocess
from typing import Any, Iterator

import stage1
from stage1 import Bench, guest, host, images

SCRIPT = """
cd /
used() { stat -f -c '%f' /top; }
now() { read a b </proc/uptime; echo $a; }
step() {
	name=$1; shift
	mount -t tmpfs -o size=1500m,nr_inodes=0 tmpfs /top
	mkdir /top/u /top/w /top/c
	f0=$(used); t0=$(now); "$@"; t1=$(now); f1=$(used)
	echo "$name $t0 $t1 $f0 $f1"
	umount /top/m 2>/dev/null; umount /top
}
lay() { mkdir /top/m; mount -t overlay -o lowerdir=/tree,upperdir=/top/u,workdir=/top/w,metacopy=$1 o /top/m
	chown -R 1:1 /top/m; }
copy() { cp -a /tree /top/c; chown -R 1:1 /top/c; }
find /tree -type f -exec cat {} + >/dev/null
step chown lay off
step chown-metacopy lay on
step cp-chown copy
"""


def measure(bench: Bench, programs: host.Programs, count: int) -> Iterator[tuple[str, Any]]:
    """Steps for a tree of `count` files of 1 KiB, a hundred a folder."""
    own = {"uid": stage1.BASE, "gid": stage1.BASE}
    tree = images.busybox_root(programs.probe, programs.ids)
    tree["/top"], tree["/tree"] = images.Dir(**own), images.Dir(**own)
    for i in range(count):
        tree[f"/tree/{i // 100}/{i}"] = images.File(b"x" * 1024, **own)
    tree["/steps"] = images.File(SCRIPT, **own, mode=0o755)
    image = images.make_image(tree, "erofs", bench.folder / f"files-{count}.erofs")
    archive = bench.folder / "chown.cpio"
    subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", archive, "-i", programs.init,
                    "-k", bench.kernel.modules, "-m", "virtio_pci,virtio_blk,erofs,overlay"], check=True)
    with guest.Guest(bench.kernel.vmlinuz, archive, "quiet root=/dev/vda rootfstype=erofs ro "
                     f"idmap={stage1.MAP}", [guest.Disk(image)], icount=True, memory=2048,
                     timeout=300) as machine:
        took = [re.search(r" in (\d+) us", record["text"]) for record in machine.kmsg()
                if record["text"].startswith("idmap-init: /dev/vda / ")]
        us = int(took[0][1])
        yield f"{count:9,} files  idmapped mount  {us / 1e6:10.6f} s  0 bytes", (f"{count}/mount", us)
        answer = machine.ask("run", "0", "0", "/bin/sh", "/steps", timeout=600)
        if answer.get("exit") != 0:
            raise guest.GuestFailed(str(answer)[:2000])
        for line in answer["stdout"].splitlines():
            name, t0, t1, f0, f1 = line.split()
            spent, wrote = float(t1) - float(t0), (int(f0) - int(f1)) * 4096
            yield (f"{count:9,} files  {name:14}  {spent:10.2f}     s  {wrote:,} bytes",
                   (f"{count}/{name}", [spent, wrote]))
