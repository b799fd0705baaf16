# SPDX-License-Identifier: MIT
"""Makes the images that the tests boot, from trees that stand in the test itself.

What counts in these images are the owners, so a tree names them one by one. It is packed as a tar
archive, which can hold any owner without privileges, and unpacked and made into an image by
programs that run under fakeroot: the same for root and for everyone else. The same tree gives
the same bytes.

    tree = busybox_root(probe, ids, base=100000)
    tree["/srv/file"] = File("content\\n", uid=100007, gid=100007, mode=0o600)
    make_image(tree, "erofs", Path("root.erofs"))
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import lzma
import os
import posixpath
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Sequence, Union

import host
from arch import GUEST

UUID = "1d3a9000-0000-4000-8000-000000000001"
MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Dir:
    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    xattrs: dict[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class File:
    """content: text, bytes, or the path of a file whose content it takes."""

    content: str | bytes | Path = b""
    uid: int = 0
    gid: int = 0
    mode: int = 0o644
    xattrs: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def data(self) -> bytes:
        if isinstance(self.content, Path):
            return self.content.read_bytes()
        return self.content.encode() if isinstance(self.content, str) else self.content


@dataclasses.dataclass(frozen=True)
class Link:
    target: str
    uid: int = 0
    gid: int = 0


@dataclasses.dataclass(frozen=True)
class Node:
    """A device node, type "c" or "b", or a FIFO, "p"."""

    type: str
    major: int
    minor: int
    uid: int = 0
    gid: int = 0
    mode: int = 0o600


Entry = Union[Dir, File, Link, Node]
Tree = dict[str, Entry]  # by absolute path; parents that are missing have their own parent's owner


class ImageFailed(Exception):
    """An image cannot be made; the message holds what the tools said."""


def busybox_root(probe: Path, ids: Path, base: int = 100000, *, init: Path | None = None) -> Tree:
    """A small root, owned as a guest's root that was built for the ids base … base+65535.

    /sbin/init (and /bin/probe) is the probe, or `init`; /bin/busybox has its applets in /bin.
    /bin/ids prints "ruid euid rgid egid"; /bin/suid is a setuid and setgid copy of root's,
    /bin/suid-user of user 1000's, /bin/suid-outside of an owner outside the usual map.
    /owners holds a file of each kind of owner, named below.
    """
    root = {"uid": base, "gid": base}
    user = {"uid": base + 1000, "gid": base + 1000}
    last = {"uid": base + 65535, "gid": base + 65535}
    outside = {"uid": base + 70000, "gid": base + 70000}

    tree: Tree = {"/": Dir(**root)}
    for path in ("/bin", "/sbin", "/etc", "/dev", "/proc", "/sys", "/run", "/srv", "/mnt", "/opt",
                 "/opt/app", "/images", "/images/app", "/home", "/var", "/owners"):
        tree[path] = Dir(**root)
    tree["/root"] = Dir(**root, mode=0o700)
    tree["/tmp"] = Dir(**root, mode=0o1777)
    tree["/home/user"] = Dir(**user, mode=0o700)
    tree["/home/user/note"] = File("of user\n", **user)

    tree.update(busybox(**root))
    tree["/bin/probe"] = File(probe, **root, mode=0o755)
    tree["/sbin/init"] = File(init or probe, **root, mode=0o755)
    tree["/bin/ids"] = File(ids, **root, mode=0o755)
    tree["/bin/suid"] = File(ids, **root, mode=0o6755)
    tree["/bin/suid-user"] = File(ids, **user, mode=0o6755)
    tree["/bin/suid-outside"] = File(ids, **outside, mode=0o6755)
    tree["/etc/hostname"] = File("guest\n", **root)
    tree["/etc/passwd"] = File("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
                               **root)
    tree["/etc/group"] = File("root:x:0:\nuser:x:1000:\n", **root)
    tree["/images/app/run"] = File("#!/bin/sh\necho app\n", **root, mode=0o755)
    tree["/images/app/data"] = File("of user\n", **user)

    tree["/owners/root"] = File("base+0\n", **root)
    tree["/owners/user"] = File("base+1000\n", **user)
    tree["/owners/last"] = File("base+65535\n", **last)
    tree["/owners/outside"] = File("base+70000\n", **outside)
    tree["/owners/zero"] = File("0\n", uid=0, gid=0)
    tree["/owners/mixed"] = File("base+1000, base+0\n", uid=base + 1000, gid=base)
    tree["/owners/root-private"] = File("base+0, 0600\n", **root, mode=0o600)
    tree["/owners/user-private"] = File("base+1000, 0600\n", **user, mode=0o600)
    tree["/owners/outside-private"] = File("base+70000, 0600\n", **outside, mode=0o600)
    tree["/owners/dir"] = Dir(**user, mode=0o2770)
    tree["/owners/link"] = Link("user", **user)
    return tree


def busybox(uid: int = 0, gid: int = 0) -> Tree:
    """/bin/busybox and links for the applets that tests use."""
    program = (shutil.which("busybox", path=tools_environment()["PATH"]) if GUEST.is_usual else
               host.find_busybox() / "busybox")
    if not program or b"/ld-linux" in Path(program).read_bytes()[:8192]:
        raise ImageFailed("no static busybox on this machine: install busybox-static")
    tree: Tree = {"/bin/busybox": File(Path(program), uid, gid, 0o755)}
    for applet in ("sh", "ash", "cat", "chmod", "chown", "cp", "dd", "echo", "find", "grep", "id",
                   "insmod", "ln", "ls", "mkdir", "mknod", "modprobe", "mount", "mv", "ps", "rm",
                   "sleep", "stat", "sync", "test", "touch", "true", "umount"):
        tree[f"/bin/{applet}"] = Link("busybox", uid, gid)
    return tree


def plain_initramfs(init: Path, extra: Tree | None = None) -> Tree:
    """An initramfs that the kernel itself starts `init` from: the control of every comparison."""
    tree: Tree = {"/": Dir(), "/dev": Dir(), "/proc": Dir(), "/sys": Dir(), "/mnt": Dir(),
                  "/dev/console": Node("c", 5, 1), "/init": File(init, mode=0o755)}
    tree.update(busybox())
    tree.update(extra or {})
    return tree


def kernel_modules(modules_dir: Path, names: Sequence[str]) -> tuple[Tree, list[str]]:
    """Modules and what they depend on, not compressed, and their paths in the order to load them.

    modules_dir is a lib/modules/VERSION folder. A name that is not there is left out: what is a
    module on one kernel is built into the next.
    """
    needs = {}
    for line in (modules_dir / "modules.dep").read_text().splitlines():
        path, _, depends = line.partition(":")
        needs[_module_name(path)] = (path, [_module_name(word) for word in depends.split()])
    tree: Tree = {}
    order: list[str] = []

    def add(name: str) -> None:
        if name not in needs or f"/lib/modules/{name}.ko" in tree:
            return
        path, depends = needs[name]
        for other in depends:
            add(other)
        data = (modules_dir / path).read_bytes()
        tree[f"/lib/modules/{name}.ko"] = File(lzma.decompress(data) if path.endswith(".xz") else data)
        order.append(f"/lib/modules/{name}.ko")

    for name in names:
        add(name.replace("-", "_"))
    return tree, order


def _module_name(path: str) -> str:
    return posixpath.basename(path).partition(".ko")[0].replace("-", "_")


def pack(tree: Tree) -> bytes:
    """The tree, less its xattrs, as a tar archive: the same bytes for the same tree."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, entry in _complete(tree):
            info = tarfile.TarInfo("." + path if path != "/" else ".")
            info.uid, info.gid = entry.uid, entry.gid
            data = b""
            if isinstance(entry, Link):
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
            elif isinstance(entry, Node):
                info.type = {"c": tarfile.CHRTYPE, "b": tarfile.BLKTYPE, "p": tarfile.FIFOTYPE}[entry.type]
                info.devmajor, info.devminor, info.mode = entry.major, entry.minor, entry.mode
            else:
                info.mode = entry.mode
                if isinstance(entry, Dir):
                    info.type = tarfile.DIRTYPE
                else:
                    data = entry.data()
                    info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return output.getvalue()


def _complete(tree: Tree) -> list[tuple[str, Entry]]:
    """All paths, sorted, with the parents that the tree leaves out."""
    whole: Tree = {"/": Dir()}
    for path in sorted(tree, key=lambda path: path.split("/")):
        if not path.startswith("/") or posixpath.normpath(path) != path:
            raise ValueError(f"not a plain absolute path: {path}")
        above = [path]
        while above[-1] != "/":
            above.append(posixpath.dirname(above[-1]))
        for parent, child in zip(above[::-1], above[-2::-1]):
            owner = whole[parent]
            whole.setdefault(child, Dir(owner.uid, owner.gid))
        whole[path] = tree[path]
    return sorted(whole.items(), key=lambda item: item[0].split("/"))


UNPACK = """
set -e
tar --extract --file "$TAR" --directory "$TREE" --numeric-owner --same-owner --same-permissions \\
	--delay-directory-restore
"$PYTHON" -c "$SET_XATTRS" "$TREE" "$XATTRS"
"""

# Not by tar: it makes files with xattrs by a mknod without a file type, which fakeroot then keeps.
SET_XATTRS = """
import json, os, sys
for path, name, value in json.load(open(sys.argv[2])):
    os.setxattr(sys.argv[1] + path, name, bytes.fromhex(value), follow_symlinks=False)
"""

# Under fakeroot, with $TREE, $IMAGE, $UUID, $MIB, $EDITS (for debugfs), $PROTO (for mkfs.xfs) and
# the owner of / as $OWNER (mkfs.btrfs may leave it to 0); "$@" is for the mkfs.
MAKE = {
    "cpio": """cd "$TREE"
find . -mindepth 1 -print0 | LC_ALL=C sort -z |
	cpio --null --quiet --reproducible -o -H newc "$@" >"$IMAGE"
""",
    "erofs": """mkfs.erofs --quiet -T0 -U "$UUID" "$@" "$IMAGE" "$TREE"
""",
    "squashfs": """mksquashfs "$TREE" "$IMAGE" -noappend -quiet -no-progress -processors 1 \\
	-no-duplicates -no-fragments -mkfs-time 0 -all-time 0 "$@"
""",
    # mke2fs takes neither the owner of / nor constant times from the tree: debugfs does.
    "ext4": """E2FSPROGS_FAKE_TIME=1 mke2fs -q -F -t ext4 -b 4096 -d "$TREE" -U "$UUID" \\
	-E "hash_seed=$UUID,lazy_itable_init=0,lazy_journal_init=0" "$@" "$IMAGE" "${MIB}M"
E2FSPROGS_FAKE_TIME=1 debugfs -w -f "$EDITS" "$IMAGE" >"$TAR.edits" 2>&1
! grep -v '^debugfs' "$TAR.edits"
""",
    # Without nrext64, which is newer than the oldest kernel of the tests.
    "xfs": """truncate -s "$((MIB > 300 ? MIB : 300))M" "$IMAGE"
mkfs.xfs -q -m "uuid=$UUID" -i nrext64=0 -p "$PROTO" "$@" "$IMAGE"
""",
    "btrfs": """truncate -s "$((MIB > 128 ? MIB : 128))M" "$IMAGE"
mkfs.btrfs -q -U "$UUID" --rootdir "$TREE" "$@" "$IMAGE"
""",
    # sload.f2fs (1.15) cuts owners to 16 bits.
    "f2fs": """truncate -s "$((MIB > 64 ? MIB : 64))M" "$IMAGE"
mkfs.f2fs -q -R "$OWNER" "$@" "$IMAGE" >"$TAR.log" || { cat "$TAR.log"; exit 1; }
sload.f2fs -P -f "$TREE" "$IMAGE" >"$TAR.log" || { cat "$TAR.log"; exit 1; }
""",
    # It has no owners: those are options of the mount.
    "vfat": """mkfs.vfat --invariant -C "$@" "$IMAGE" "$((MIB * 1024))" >"$TAR.log"
cd "$TREE"
mcopy -s -m -i "$IMAGE" ./* ::/
""",
}


def make_image(tree: Tree, kind: str, path: Path, *, size_mib: int | None = None,
               args: Sequence[str] = (), uuid: str = UUID) -> Path:
    """Writes an image: kind is one of MAKE's; args are further ones of its mkfs.

    size_mib is for kinds that have a fixed size; without it there is some room left.
    """
    archive = pack(tree)
    with tempfile.TemporaryDirectory(prefix="idmap-init-image-") as folder:
        work = Path(folder)
        (work / "tree").mkdir()
        (work / "tar").write_bytes(archive)
        (work / "xattrs").write_text(json.dumps(_xattrs(tree)))
        (work / "edits").write_text(_ext4_edits(tree) if kind == "ext4" else "")
        (work / "proto").write_text(_xfs_proto(tree, work / "tree") if kind == "xfs" else "")
        root = _complete(tree)[0][1]
        environment = tools_environment() | {
            "TREE": str(work / "tree"), "TAR": str(work / "tar"),
            "XATTRS": str(work / "xattrs"), "SET_XATTRS": SET_XATTRS, "PYTHON": sys.executable,
            "EDITS": str(work / "edits"), "PROTO": str(work / "proto"),
            "OWNER": f"{root.uid}:{root.gid}", "IMAGE": str(work / "image"), "UUID": uuid,
            "MIB": str(size_mib or len(archive) * 5 // 4 // MIB + 8)}
        result = subprocess.run(["fakeroot", "--", "sh", "-c", UNPACK + MAKE[kind], "sh", *args],
                                env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            raise ImageFailed(f"making {path.name} ({kind}): {result.stdout.strip()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / "image", path)
    return path


def partitions(path: Path, script: Sequence[str], parts: Sequence[tuple[Path | None, str]]) -> Path:
    """A disk image with sfdisk's table: parts are (image or None, the line's further fields), each
    at the next whole MiB; an extended partition is (None, "type=5"), what follows it is inside."""
    lines, at = list(script), MIB
    places = []
    for image, fields in parts:
        size = (image.stat().st_size + MIB - 1) // MIB * MIB if image else 0
        if image:
            places.append((at, image))
        lines.append(f"{fields}, start={at // 512}" + (f", size={size // 512}" if size else ""))
        at += size + MIB
    with open(path, "wb") as disk:
        disk.truncate(at + MIB)
    subprocess.run(["/sbin/sfdisk", "--quiet", path],
                   input="\n".join(lines) + "\n", text=True, check=True)
    with open(path, "r+b") as disk:
        for start, image in places:
            disk.seek(start)
            disk.write(image.read_bytes())
    return path


def unpack(tree: Tree, folder: Path) -> Path:
    """Makes the tree (less its xattrs) in a new folder of this machine, with its owners: as root."""
    folder.mkdir(mode=0o755)
    subprocess.run(["tar", "--extract", "--directory", folder, "--numeric-owner", "--same-owner",
                    "--same-permissions", "--delay-directory-restore"],
                   input=pack(tree), check=True)
    return folder


def image_key(tree: Tree, kind: str, **options: object) -> str:
    """Equal for equal images."""
    digest = hashlib.sha256(pack(tree))
    digest.update(repr((_xattrs(tree), kind, sorted(options.items()))).encode())
    return digest.hexdigest()[:20]


def _xattrs(tree: Tree) -> list[tuple[str, str, str]]:
    return [(path, name, value.hex()) for path, entry in sorted(tree.items())
            if isinstance(entry, (Dir, File)) for name, value in sorted(entry.xattrs.items())]


def _ext4_edits(tree: Tree) -> str:
    whole = _complete(tree)
    root = whole[0][1]
    lines = [f"set_inode_field / uid {root.uid}", f"set_inode_field / gid {root.gid}"]
    if isinstance(root, Dir):
        lines.append(f"set_inode_field / mode 0{0o040000 | root.mode:o}")
    for path, _ in whole:
        for field in ("atime", "ctime", "mtime", "crtime"):
            lines.append(f'set_inode_field "{path}" {field} @0')
    return "\n".join(lines) + "\n"


def _xfs_proto(tree: Tree, folder: Path) -> str:
    """The prototype file of mkfs.xfs, which describes what becomes of the files in the folder."""
    lines = ["/", "0 0"]
    depth = 0
    for path, entry in _complete(tree):
        level = 0 if path == "/" else path.count("/")
        lines += ["$"] * (depth - level)
        depth = level + 1 if isinstance(entry, Dir) else level
        name = [] if path == "/" else [posixpath.basename(path)]
        if isinstance(entry, Dir):
            words = [_xfs_mode("d", entry.mode), entry.uid, entry.gid]
        elif isinstance(entry, File):
            words = [_xfs_mode("-", entry.mode), entry.uid, entry.gid, f"{folder}{path}"]
        elif isinstance(entry, Link):
            words = ["l--777", entry.uid, entry.gid, entry.target]
        else:
            words = [_xfs_mode(entry.type, entry.mode), entry.uid, entry.gid, entry.major,
                     entry.minor]
        lines.append(" ".join(map(str, name + words)))
    return "\n".join(lines + ["$"] * depth) + "\n"


def _xfs_mode(kind: str, mode: int) -> str:
    return (f"{kind}{'u' if mode & 0o4000 else '-'}{'g' if mode & 0o2000 else '-'}"
            f"{mode & 0o777:03o}")


def tools_environment() -> dict[str, str]:
    """For mkfs programs and their like: they are in sbin, which users often do not have in their path; and this machine's
    cache of what it has seen may know another image of a UUID, which mkfs.btrfs then refuses."""
    return os.environ | {"PATH": os.environ.get("PATH", "/bin:/usr/bin") + ":/usr/sbin:/sbin", "BLKID_FILE": os.devnull}


def give_xfs_acl(image: Path, path: str, entries: Sequence[tuple[int, int, int]]) -> None:
    """Gives a file of an xfs image an ACL of (tag, permissions, id), for which mkfs.xfs has no means: its attribute is made
    with a value that is filled in then (struct xfs_acl, xfs_da_format.h), and the inode's checksum made anew."""
    value = struct.pack(">I", len(entries)) + b"".join(struct.pack(">IIHxx", tag, owner, permissions)
                                                       for tag, permissions, owner in entries)

    def xfs_db(*commands: str) -> str:
        return subprocess.run(["xfs_db", "-x", *(word for command in commands for word in ("-c", command)), image], check=True,
                              env=tools_environment(), text=True, stdout=subprocess.PIPE).stdout

    number = xfs_db(f"path {path}", f"attr_set -r -v {len(value)} SGI_ACL_FILE", "print v3.inumber").split()[-1]
    with open(image, "r+b") as file:
        file.seek(file.read().index(b"SGI_ACL_FILE" + b"v" * len(value)) + len("SGI_ACL_FILE"))
        file.write(value)
    xfs_db(f"inode {number}", "crc -r")


def debugfs(image: Path, request: str, *, write: bool = False) -> str:
    """What debugfs(8) says to a request about an ext4 image."""
    return subprocess.run(["debugfs", *(["-w"] if write else []), "-R", request, image], check=True,
                          env=tools_environment(), text=True,
                          stdout=subprocess.PIPE).stdout
