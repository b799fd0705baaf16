# SPDX-License-Identifier: MIT
"""An idmapped mount beside what container engines did instead: chown -R over an overlay, with and
without metacopy, and cp -a with chown. All in one guest and one run, of one erofs image on kernel 6.1.

Times are the guest's, under -icount, where an instruction is a nanosecond; the image is in the
guest's memory, so that nothing waits for a disk. Bytes written are the blocks by which the tmpfs of
the copies has grown, without its inodes. Memory is what the tmpfs and the kernel's own objects still
take when all caches have been dropped.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import stage1
import tools
from stage1 import Bench, Case, guest, host, images
from table import Shown, head, row, spread

TREES = "400,minbase,10000,100000,1000000"
CHOWN_MOST = 100000  # files; what is larger is only mounted
MOUNTS = 9  # of one image, each with a map of its own

# Prints a line a step: name, start, end in nanoseconds, free blocks and KiB taken before and after.
# The kernel's counts are exact only after stat_refresh; free memory is not even then.
SCRIPT = """
cd /
taken() {
	echo 3 >/proc/sys/vm/drop_caches; cat /proc/sys/vm/stat_refresh
	sum=0
	while read name kib rest; do
		case $name in Shmem: | Slab: | Percpu:) sum=$((sum + kib)) ;; esac
	done </proc/meminfo
	echo $sum
}
blocks() { stat -f -c %%f /top; }
now() { while read a b ns rest; do [ $a = now ] && { echo $ns; return; }; done </proc/timer_list; }
step() {
	name=$1; shift
	mount -t tmpfs -o size=90%%,nr_inodes=0 tmpfs /top
	mkdir /top/u /top/w /top/c /top/m
	m0=$(taken); f0=$(blocks); t0=$(now); "$@"; t1=$(now); f1=$(blocks); m1=$(taken)
	echo $name $t0 $t1 $f0 $f1 $m0 $m1
	umount /top/m 2>/dev/null; umount /top
}
lay() { mount -t overlay -o lowerdir=/tree,upperdir=/top/u,workdir=/top/w,metacopy=$1 o /top/m
	chown -hR 1:1 /top/m; }
copy() { cp -a /tree /top/c; chown -hR 1:1 /top/c; }
drop() { umount /m/*; }
step nothing true
for run in $(seq %d); do
	step overlay lay off
	step metacopy lay on
	step copy copy
done
umount /tree
step umount drop
"""
NAMES = {"overlay": "chown -R, overlay", "metacopy": "chown -R, overlay with metacopy",
         "copy": "cp -a, chown -R"}


def fill(name: str, folder: Path, init: Path) -> int:
    """Makes a tree below /files, beside what stage 1 needs; the number of its files and folders."""
    files = folder / "files"
    for made in ("dev", "proc", "sys", "run", "sbin"):
        (folder / made).mkdir(parents=True)
    shutil.copy(init, folder / "sbin" / "init")
    if name == "minbase":
        # A root of dpkg-deb's making: apt and what every Debian has.
        shutil.copytree(tools.unpacked("--root", "trixie", "apt"), files, symlinks=True)
    else:
        for i in range(int(name)):
            if i % 100 == 0:
                below = files / str(i // 10000) / str(i // 100)
                below.mkdir(parents=True)
            with open(f"{below}/{i}", "wb", buffering=0) as file:
                file.write(b"x" * 1024)
    return int(subprocess.run("find . | wc -l", shell=True, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)


@contextlib.contextmanager
def tree_image(bench: Bench, name: str) -> Iterator[tuple[Path, int]]:
    """An erofs image that is removed at the end, as it may be large; its number of entries."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        image = Path(folder) / "image"
        entries = fill(name, Path(folder) / "tree", bench.arrive)
        subprocess.run(["mkfs.erofs", "--quiet", "-T0", f"--force-uid={stage1.BASE}",
                        f"--force-gid={stage1.BASE}", image, Path(folder) / "tree"], check=True,
                       env=images.tools_environment())
        shutil.rmtree(Path(folder) / "tree")
        yield image, entries


def steps(bench: Bench, programs: host.Programs, image: Path, runs: int) -> tuple[list[int], dict[str, list[list[int]]]]:
    """One guest: what each mount took in microseconds by idmap-init's log; the script's figures."""
    own = {"uid": stage1.BASE, "gid": stage1.BASE}
    tree = images.busybox_root(programs.probe, programs.ids)
    for folder in ("top", "tree", *(f"m/{i}" for i in range(MOUNTS))):
        tree[f"/{folder}"] = images.Dir(**own)
    tree["/bin/seq"] = images.Link("busybox", **own)
    tree["/steps"] = images.File(SCRIPT % runs, **own, mode=0o755)
    root = images.make_image(tree, "erofs", bench.folder / "steps.erofs")
    conf, archive = bench.folder / "steps.conf", bench.folder / "steps.cpio"
    # wait=: under icount a guest's clock runs ahead of the host's disks.
    conf.write_text(f"/dev/vda / erofs wait=600,idmap={stage1.MAP}\n{stage1.DEVICE} /tree erofs\n" + "".join(
        f"{stage1.DEVICE} /m/{i} erofs idmap={stage1.BASE}:{i}:65536\n" for i in range(MOUNTS)))
    subprocess.run([host.REPOSITORY / "init" / "mkinitramfs", "-o", archive, "-c", conf, "-i", programs.init,
                    "-k", bench.kernel.modules, "-m", "virtio_pci,virtio_blk,erofs,overlay,nfit,nd_pmem"],
                   check=True)
    with guest.Guest(bench.kernel.vmlinuz, archive, "quiet", [guest.Disk(root)], icount=True,
                     machine="q35,nvdimm=on", qemu_args=stage1.nvdimm(image, 2048)) as machine:
        took = [int(match[1]) for record in machine.kmsg()
                if (match := re.match(r"idmap-init: \S+ /m/.* in (\d+) us$", record["text"]))]
        answer = machine.ask("run", "0", "0", "/bin/sh", "/steps", timeout=1800)
    if answer.get("exit") != 0 or answer["stderr"]:
        raise guest.GuestFailed(str(answer)[:2000])
    found: dict[str, list[list[int]]] = {}
    for line in answer["stdout"].splitlines():
        name, *numbers = line.split()
        t0, t1, f0, f1, m0, m1 = map(int, numbers)
        found.setdefault(name, []).append([t1 - t0, (f0 - f1) * 4096, m1 - m0])
    return took, found


def measure(bench: Bench, programs: host.Programs) -> Shown:
    chosen = os.environ.get("FILES", TREES).split(",")
    mounted = []
    yield head("tree", "files and folders", "what", "seconds, median", "least to most", "bytes written",
               "KiB of memory"), None
    for name in chosen:
        with tree_image(bench, name) as (image, entries):
            result = bench.measure(bench.ours(programs.init, Case()), image=image)
            mounted.append((name, entries, result))
            runs = 0 if entries > 2 * CHOWN_MOST else 2 if entries > 20000 else 3
            took, found = steps(bench, programs, image, runs)
        # The first one waits until the kernel has found the device.
        values = [us / 1e6 for us in took[1:]]
        kib = -found["umount"][0][2] / MOUNTS
        figures = {"entries": entries, "instructions": result.instructions, "spread": result.spread,
                   "idmapped mount": {"seconds": values, "bytes": 0, "kib": kib}}
        yield row(name, f"{entries:,}", "idmapped mount", f"{statistics.median(values):.6f}",
                  spread(values, ".6f"), 0, f"{kib:.0f}"), None
        for key, what in NAMES.items():
            if key not in found:
                yield row(name, f"{entries:,}", what, "not run", "", "", ""), None
                continue
            values = [(run[0] - found["nothing"][0][0]) / 1e9 for run in found[key]]
            written, kib = (statistics.median(run[i] for run in found[key]) for i in (1, 2))
            figures[what] = {"seconds": values, "bytes": written, "kib": kib}
            yield row(name, f"{entries:,}", what, f"{statistics.median(values):.3f}", spread(values, ".3f"),
                      f"{written:,.0f}", f"{kib:,.0f}"), None
        yield "", (name, figures)
    yield head("tree as the root", "files and folders", "all of stage 1, instructions", "spread"), None
    for name, entries, result in mounted:
        yield row(name, f"{entries:,}", f"{result.instructions:,}", f"{result.spread:,}"), None
