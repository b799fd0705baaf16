# SPDX-License-Identifier: MIT
"""The real init cannot tell that we were there.

The control of the comparison is the kernel itself, which starts the probe as the initramfs' own
/init; the subject is idmap-init, which starts the probe in the mapped root. Same kernel, command line,
memory, disks, and an initramfs of the same size. All that the probe can see of its world must be
equal, but for what MAY_DIFFER lists with a reason.

Then what the real init finds and what is left behind: /dev, /proc, /sys, /run, whoever mounted them,
no byte of the initramfs, and no file less where it was mounted elsewhere.
"""

from __future__ import annotations

import fnmatch
import re

import pytest

from common import MAPPED, PRE, log_lines, of_x86_64, owners
from guest import Disk, parse_mountinfo
from images import MIB, busybox

MAP = "100000:0:65536"
ROOT = f"root=/dev/vda rootfstype=erofs ro idmap={MAP}"
ROOT_UNMAPPED = "root=/dev/vda rootfstype=erofs ro idmap=off"  # Linux 5.10 maps nothing
FOUR = ["/dev", "/proc", "/sys", "/run"]

# What follows the root's own parameters, by what it is about. The kernel passes idmap= on, the last.
WORDS = {
    "usual": 'foo=bar q="x y" a.b=c nosuch.option=1 my-flag -- alpha b=2 idmap=after init=/after',
    # An 0xA0, the second byte of "à", is a blank to the kernel; the last quote is never closed.
    "quotes": "\"quoted word\" k=\"a b\"c \"p=q r\" x= =y a==b it's caf\u00e9=\u00e0t mid\"dle -- not"
              " yet\"=1 z=\"\" -- one \"open end",
    "init": "gone rdinit=/init gone init=/sbin/init one two -- three",
    "repeated": "k=1 word k=2 word j=3 k=3 TERM=vt100 HOME=/root idmap.conf=/none",
    "idmap twice": "before idmap=/images/app,/opt/app,bind after",
    # The kernel takes up to 32 of each, HOME, TERM and idmap among them.
    "most": " ".join([f"w{i}" for i in range(30)] + [f"k{i}={i}" for i in range(29)]),
}

# A field that differs and is not listed fails the test. Names are those of flatten(), with * as in
# a shell.
MAY_DIFFER = {
    "argv.0": "the path of the init that was started: looked at by itself",
    "exe": "the same path",
    "time_ns": "time",
    "proc_mounted": "the control has no /proc",
    "mountinfo": "mounts: looked at by themselves; how they propagate is compared",
    "stat.minflt": "work done",
    "stat.majflt": "work done: the control's program lies in memory",
    "stat.[cu]*time": "time spent",
    "stat.stime": "time spent",
    "stat.starttime": "in ticks; the same but for the kernel's own pace",
    "stat.rss": "memory in use, counted in batches",
    "stat.kstkes*": "where the program is just now",
    "stat.start*": "addresses, chosen at random",
    "stat.arg_*": "addresses, chosen at random",
    "stat.env_*": "addresses, chosen at random",
    "stat.delayacct_blkio_ticks": "time spent",
    "status.VmPTE": "depends on the random addresses",
    "status.VmHWM": "memory in use, counted in batches",
    "status.VmRSS": "memory in use, counted in batches",
    "status.Rss*": "memory in use, counted in batches",
    "status.*ctxt_switches": "work done",
}

# proc_pid_stat(5)
STAT = """pid comm state ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime
cutime cstime priority nice num_threads itrealvalue starttime vsize rss rsslim startcode endcode
startstack kstkesp kstkeip signal blocked sigignore sigcatch wchan nswap cnswap exit_signal processor
rt_priority policy delayacct_blkio_ticks guest_time cguest_time start_data end_data start_brk arg_start
arg_end env_start env_end exit_code""".split()

# Looked at later, through a mounted /proc.
FILES = [f"/proc/1/{name}" for name in (
    "autogroup", "coredump_filter", "limits", "loginuid", "sessionid", "uid_map", "gid_map",
    "projid_map", "setgroups", "timens_offsets", "attr/current")] + [
    f"/proc/sys/{name}" for name in (
        "kernel/printk", "kernel/printk_devkmsg", "kernel/core_pattern", "kernel/modprobe",
        "kernel/modules_disabled", "user/max_user_namespaces", "vm/overcommit_memory")]


def flatten(value, name=""):
    """{"fds.0.target": …}: a leaf of the report each. Empty lists and objects are leaves."""
    if not value or not isinstance(value, (dict, list)):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    prefix = f"{name}." if name else ""
    return {leaf: found for key, below in items
            for leaf, found in flatten(below, f"{prefix}{key}").items()}


def world(guest):
    """Everything that the probe saw, flat, and what shows only beside other processes."""
    report = dict(guest.report())
    # As other boots give other namespaces: whether they are those of the kernel's own threads.
    if not report["proc_mounted"]:
        guest.ask("mkdir /proc")
        guest.run("/bin/busybox", "mount", "-t", "proc", "proc", "/proc")
    report["namespaces"] = {
        name: link == guest.ask(f"stat /proc/2/ns/{name}").get("link")
        for name, link in report["namespaces"].items()}
    report["stat"] = dict(zip(STAT, report["stat"].split(" "), strict=True))
    # The kernel passes idmap= on to the control; the subject must not have it.
    if report["argv"][0] == "/init":
        report["environ"] = [word for word in report["environ"] if not word.startswith("idmap=")]
    report["propagation"] = sorted({tag for mount in parse_mountinfo(report["mountinfo"])
                                    for tag in mount.tags})
    report["files"] = {path: guest.ask(f"read {path}") for path in FILES}
    report["terminal"] = guest.run("/bin/busybox", "stty", "-F", "/dev/console", "-g")
    return flatten(report)


@pytest.fixture
def both_worlds(programs, root_tree, image, initramfs, boot):
    """both_worlds(kernel, command line): (control, subject)."""
    def run(kernel, append):
        worlds = []
        busybox_file = (busybox()["/bin/busybox"].content, "/bin/busybox")
        for init, other in (programs.probe, programs.init), (programs.init, programs.probe):
            # Both programs lie in both, so that neither has more memory, which limits depend on.
            initrd = initramfs(kernel, init=init, add=[(other, "/other"), busybox_file])
            with boot(kernel, initrd, append, [Disk(image(root_tree(), "erofs"))]) as guest:
                worlds.append(world(guest))
                if init == programs.init and kernel.name in MAPPED and "idmap=off" not in append:
                    assert owners(guest)["user"] == (1000, 1000)
        return worlds

    return run


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "7.x"], indirect=True)
@pytest.mark.parametrize("name", [
    pytest.param("usual", marks=[pytest.mark.every_machine, pytest.mark.every_kernel]), *list(WORDS)[1:]])
def test_same_world(name, kernel, both_worlds):
    root = ROOT if kernel.name in MAPPED else ROOT_UNMAPPED
    if name == "idmap twice" and kernel.name in MAPPED:
        root = f"idmap=/dev/vda,/,erofs,{MAP}"  # the short form is for the root alone
    control, subject = both_worlds(kernel, f"{root} {WORDS[name]}")
    assert (control["argv.0"], subject["argv.0"]) == ("/init", "/sbin/init")
    assert (control["exe"], subject["exe"]) == ("/init", "/sbin/init")
    differences = {
        field: (control.get(field), subject.get(field)) for field in control.keys() | subject.keys()
        if control.get(field, KeyError) != subject.get(field, KeyError) and
        not any(fnmatch.fnmatchcase(field, known) for known in MAY_DIFFER)}
    assert differences == {}
    # What the comparison itself relies on.
    assert {field for field in subject if field.startswith("fds.") and field.endswith(".fd")} == {
        "fds.0.fd", "fds.1.fd", "fds.2.fd"}
    assert subject["children"] == [] == subject["propagation"]


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "7.x"], indirect=True)
def test_console_without_a_console(kernel, root_tree, image, initramfs, boot, tmp_path):
    """A link to nowhere takes the place of /dev/console in the initramfs, so the kernel leaves 0 to 2
    closed; the real init finds them open all the same."""
    (tmp_path / "link").symlink_to("nowhere")
    initrd = initramfs(kernel, add=[(tmp_path / "link", "/dev/console")])
    root = ROOT if kernel.name in MAPPED else ROOT_UNMAPPED
    with boot(kernel, initrd, root, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert guest.report()["fds"] == [
            {"fd": fd, "target": "/dev/console", "flags": 2, "cloexec": False, "type": "char",
             "rdev": "5:1"} for fd in range(3)]
        assert any("unable to open an initial console" in r["text"] for r in guest.kmsg())


@pytest.fixture
def stage_0(programs, initramfs, tmp_path):
    """stage_0(kernel, lines): an initramfs whose /init is a script that ends in idmap-init."""
    def make(kernel, lines, **options):
        script = tmp_path / "stage0"
        script.write_text('#!/bin/busybox sh\nset -e\nexport PATH=/bin\n'
                          f'{lines}\nexec /idmap-init "$@"\n')
        add = [(programs.init, "/idmap-init"), (busybox()["/bin/busybox"].content, "/bin/busybox"),
               *options.pop("add", [])]
        for applet in ("mount", "mkdir", "echo"):
            link = tmp_path / applet
            link.symlink_to("busybox")
            add.append((link, f"/bin/{applet}"))
        return initramfs(kernel, init=script, add=add, **options)

    return make


MOUNT_FOUR = """
mkdir -p /dev /proc /sys /run
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs stage0 /run
"""


def targets(guest):
    """What the real init found mounted, sorted; what is mounted twice stands here twice."""
    return sorted(mount.target for mount in parse_mountinfo(guest.report()["mountinfo"]))


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", ["5.10", *MAPPED], indirect=True)
def test_four_are_moved(kernel, root_tree, image, initramfs, boot):
    root = ROOT if kernel.name in MAPPED else ROOT_UNMAPPED
    with boot(kernel, initramfs(kernel), root, [Disk(image(root_tree(), "erofs"))]) as guest:
        mounts = parse_mountinfo(guest.report()["mountinfo"])
        assert sorted((mount.target, mount.type) for mount in mounts) == [
            ("/", "erofs"), ("/dev", "devtmpfs"), ("/proc", "proc"), ("/run", "tmpfs"),
            ("/sys", "sysfs")]
        parent, = [mount.id for mount in mounts if mount.target == "/"]
        assert {mount.parent for mount in mounts if mount.target != "/"} == {parent}


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "7.x"], indirect=True)
def test_mounts_of_a_stage_0_move_along(kernel, root_tree, image, stage_0, boot):
    """Nothing is mounted over what is there, and what stands on the four stays on them."""
    initrd = stage_0(kernel, MOUNT_FOUR + """
        mkdir -p /dev/pts /run/lock
        mount -t devpts devpts /dev/pts
        mount -t tmpfs lock /run/lock
        echo kept >/run/lock/file
    """)
    root = ROOT if kernel.name in MAPPED else ROOT_UNMAPPED
    with boot(kernel, initrd, root, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert targets(guest) == ["/", "/dev", "/dev/pts", "/proc", "/run", "/run/lock", "/sys"]
        assert guest.ask("read /run/lock/file")["content"] == "kept\n"
        assert "ptmx" in guest.ask("ls /dev/pts")["entries"]
        sources = {mount.target: mount.source for mount in guest.mounts()}
        assert [sources[path] for path in FOUR] == ["dev", "proc", "sys", "stage0"]


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_shared_root(kernel, root_tree, image, stage_0, boot):
    """A shared parent refuses to have mounts moved below it; the real init gets private ones."""
    initrd = stage_0(kernel, MOUNT_FOUR + "mount --make-rshared /")
    with boot(kernel, initrd, ROOT, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert targets(guest) == ["/", *sorted(FOUR)]
        assert [mount.tags for mount in parse_mountinfo(guest.report()["mountinfo"])] == [[]] * 5


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
@pytest.mark.parametrize("absent", [["/run"], ["/dev", "/sys"], FOUR], ids=" ".join)
def test_root_without_some(absent, kernel, root_tree, image, initramfs, boot):
    """Each that the root has no folder for is told, and the boot goes on with the others."""
    tree = root_tree()
    for path in absent:
        del tree[path]
    with boot(kernel, initramfs(kernel), ROOT, [Disk(image(tree, "erofs"))]) as guest:
        assert targets(guest) == ["/", *sorted(set(FOUR) - set(absent))]
        assert owners(guest)["user"] == (1000, 1000)
        assert [line for line in log_lines(guest) if "going on without" in line] == [
            f"{PRE}the new root has no folder {path}, going on without it" for path in absent]


@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_initramfs_that_has_files_there(kernel, root_tree, image, initramfs, tmp_path, boot):
    """What is told before there is a /dev is in the log all the same."""
    (tmp_path / "file").touch()
    initrd = initramfs(kernel, add=[(tmp_path / "file", "/sys"), (tmp_path / "file", "/run")])
    with boot(kernel, initrd, ROOT, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert [line for line in log_lines(guest) if "cannot be mounted" in line] == [
            f"{PRE}{path} cannot be mounted (not a folder), going on without" for path in ("/sys", "/run")]


def free_kb(guest):
    """MemFree, and the free pages that wait on the lists of each CPU: up to 20 MB for some time."""
    guest.ask("write /proc/sys/vm/drop_caches 3")
    waiting = re.findall(r"^ +count: +(\d+)$", guest.ask("read /proc/zoneinfo")["content"],
                         re.MULTILINE)
    return guest.ask("meminfo")["kb"]["MemFree"] + 4 * sum(map(int, waiting))


# The initramfs is a ramfs where the command line has a root=, else a tmpfs (init/do_mounts.c).
@pytest.mark.parametrize("append", [ROOT, f"idmap=/dev/vda,/,erofs,{MAP}"], ids=["ramfs", "tmpfs"])
@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_initramfs_is_freed(kernel, append, root_tree, image, initramfs, boot, tmp_path):
    """60 MB more in it, and after the hand-off as much memory is free as without them."""
    for folder in ("a", "b/c/d"):
        (tmp_path / "extra" / folder).mkdir(parents=True)
        for i in range(30):
            (tmp_path / "extra" / folder / f"file {i}").write_bytes(bytes([i]) * MIB)
    free = []
    for add in [], [(tmp_path / "extra", "/extra")]:
        with boot(kernel, initramfs(kernel, add=add), append,
                  [Disk(image(root_tree(), "erofs"))]) as guest:
            free.append(free_kb(guest))
    assert abs(free[0] - free[1]) < 6 * 1024, free


@pytest.mark.parametrize("kernel", MAPPED, indirect=True)
def test_deletion_stays_in_the_initramfs(kernel, root_tree, image, stage_0, boot):
    """Two things are mounted in the initramfs that the guest sees elsewhere, below /run: a tmpfs, and
    a folder of the initramfs itself, whose own place is covered so that only the way over a mount
    leads to its files. That one has the initramfs' device number: it takes more to tell it apart."""
    initrd = stage_0(kernel, MOUNT_FOUR + """
        mkdir -p /keep/tmpfs /keep/folder /covered/deep /run/tmpfs /run/folder
        mount -t tmpfs kept /keep/tmpfs
        mkdir /keep/tmpfs/deep
        echo kept >/keep/tmpfs/deep/file
        mount --bind /keep/tmpfs /run/tmpfs
        echo kept >/covered/deep/file
        mount --bind /covered /keep/folder
        mount --bind /covered /run/folder
        mount -t tmpfs cover /covered
    """)
    with boot(kernel, initrd, ROOT, [Disk(image(root_tree(), "erofs"))]) as guest:
        assert targets(guest) == ["/", "/dev", "/proc", "/run", "/run/folder", "/run/tmpfs", "/sys"]
        assert guest.ask("read /run/tmpfs/deep/file") == {"content": "kept\n"}
        assert guest.ask("read /run/folder/deep/file") == {"content": "kept\n"}


# What they give a guest by default or in their first steps; nomodule is for kernels without any module.
LINES = {
    "firecracker": "reboot=k panic=1 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce"
                   " root=/dev/vda ro",
    "firecracker with a console": "console=ttyS0 reboot=k panic=1 pci=off root=/dev/vda ro",
    "cloud-hypervisor": "console=hvc0 root=/dev/vda rw",
}


@of_x86_64("the lines are for that")
@pytest.mark.parametrize("manager", ["firecracker", "firecracker with a console", "cloud-hypervisor"])
@pytest.mark.parametrize("kernel,machine", [
    pytest.param("6.1", "microvm", marks=pytest.mark.tools(always=True)),
    pytest.param("newest", "microvm", marks=pytest.mark.tools(always=True)),
    # Debian's have no CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES, by which disks are found without ACPI.
    pytest.param("own", "microvm,acpi=off", marks=pytest.mark.tools),
], indirect=["kernel"])
def test_lines_of_managers(manager, kernel, machine, root_tree, image, initramfs, boot, ran):
    """No PCI, and a command line that is theirs, with the map behind it, and behind that where the disks are."""
    initrd = initramfs(kernel, modules="virtio_mmio,virtio_blk,virtio_console,erofs")
    append = f"{LINES[manager]} idmap=100000:0:65536 probe.tty=hvc1"
    with boot(kernel, initrd, append, [Disk(image(root_tree(), "erofs"))], machine=machine,
              manager=True) as guest:
        assert owners(guest)["user"] == (1000, 1000)
        line = guest.ask("read /proc/cmdline")["content"]
        assert line.startswith(LINES[manager])
        assert ("virtio_mmio.device=" in line) == (kernel.name == "own")
    own = kernel.name == "own"
    ran("the command lines of Firecracker and Cloud Hypervisor", "6.12" if own else kernel.name,
        "without ACPI" if own else "on QEMU's microvm")


@of_x86_64("QEMU's microvm is one")
@pytest.mark.parametrize("kernel", ["6.1", "7.x"], indirect=True)
def test_microvm(kernel, root_tree, image, initramfs, boot):
    """A machine without PCI; the disks are on virtio-mmio, and /dev/vda is still the first."""
    disks = [Disk(image(root_tree(), "erofs"), serial="first"),
             Disk(image(root_tree(base=5), "erofs"), serial="second")]
    initrd = initramfs(kernel, modules="virtio_mmio,virtio_blk,erofs")
    with boot(kernel, initrd, ROOT, disks, machine="microvm") as guest:
        assert owners(guest)["user"] == (1000, 1000)
        assert [guest.ask(f"read /sys/block/{name}/serial")["content"] for name in ("vda", "vdb")] == [
            "first", "second"]
        assert guest.ask("ls /sys/bus/pci/devices")["entries"] == {}
