# SPDX-License-Identifier: MIT
"""Tables at random by idmap apply, against a model: what is seen at every path, whose it is and whether it
can be written is what the table says, or all is as it was before; and undo brings that back.

The model knows nothing of mounting: a path is looked up in the deepest row above it, and the tree of a bind
is what is seen at its SOURCE without that row, and those on it. SEED= and TABLES= in the environment are for
others, or more: a table that was wrong once belongs into idmap/test/test_apply.py."""

from __future__ import annotations

import dataclasses
import os
import random

import pytest

from common import EVERY
from guest import Disk
from images import Dir, File

SEED, TABLES = os.environ.get("SEED", ""), int(os.environ.get("TABLES", 40))
DISKS = "bcde"  # of the same folders; /dev/vdb is mounted on /n, the root that rows are for
FOLDERS = ["", "/a", "/b"] + [f"/{x}/{y}{z}" for x in "ab" for y in "ab" for z in ("", "/a", "/b")]
DEPTH = 3
OWNER = 1000  # of all of it

# Of each folder its file .is, which names disk and folder; whether that can be written, and by whom it is owned.
LOOK = """exec 2>/dev/null; cd /n; find . -name .is | while read -r file; do
    read -r what <$file; how=ro; { true >>$file; } && how=rw; echo "$file $what $how"; done
echo; find . -name .is -exec stat -c '%n %u' {} +; true"""


@dataclasses.dataclass
class Row:
    source: str
    target: str
    type: str
    options: list[str]
    map: int | None = None  # what OWNER is seen as
    layers: list[Row] = dataclasses.field(default_factory=list)  # the highest first
    theirs: bool = False  # it was mounted before

    def lines(self) -> str:
        options = self.options + ([f"idmap=0:0:1,{OWNER}:{self.map}:1"] if self.map else [])
        return f"{self.source} {self.target} {self.type} {','.join(options)}\n" + "".join(
            layer.lines() for layer in reversed(self.layers))


@dataclasses.dataclass(frozen=True)
class Seen:
    """Folders of disks with their owner, which are merged there, the highest first."""

    folders: tuple[tuple[str, int], ...]
    rw: bool


# --- the model ---------------------------------------------------------------------------------------------


def inside(path: str, folder: str) -> bool:
    return folder == "/" or f"{path}/".startswith(f"{folder}/")


def join(folder: str, path: str) -> str:
    return (folder.rstrip("/") + path) or "/"


def look(rows: list[Row], path: str, below: str = "") -> Seen:
    """`below`: the rest of the path, in the tree that stands there, whatever is mounted on it."""
    row = max((row for row in rows if inside(path, row.target)), key=lambda row: len(row.target.rstrip("/")))
    others = [other for other in rows if other is not row and (other.theirs or not inside(other.target, row.target))]
    rest = path[len(row.target.rstrip("/")):].rstrip("/")
    rw = "rw" in row.options
    if row.type == "rbind":
        found = [look(others, join(row.source, rest), below)]
    elif row.type == "bind":
        found = [look(others, row.source, rest + below)]
    elif row.type == "overlay":
        found = [look(others + [layer], path, below) for layer in row.layers]
    else:
        here = (row.source[-1] + rest + below, OWNER)
        found = [Seen((here,) if row.type != "tmpfs" and here[0].count("/") <= DEPTH else (), True)]
    return Seen(tuple((folder, row.map or owner) for tree in found for folder, owner in tree.folders),
                rw and (row.type == "overlay" or found[0].rw))


def walk(rows: list[Row], path: str = "/") -> dict[str, tuple[str, int, bool]]:
    """All that look() finds, as LOOK does."""
    found = look(rows, path)
    here = {path: (*found.folders[0], found.rw)} if found.folders else {}
    for name in "ab" if found.folders or any(inside(row.target, path) for row in rows if row.target != path) else "":
        here |= walk(rows, join(path, f"/{name}"))
    return here


# --- tables ------------------------------------------------------------------------------------------------


def a_path(chance: random.Random, rows: list[Row]) -> str:
    """Now and then where another row is, or in its tree."""
    path = "".join(f"/{chance.choice('ab')}" for _ in range(chance.choice([1, 1, 2, 2, 3])))
    return join(chance.choice(rows).target, chance.choice(["", path])) if rows and chance.random() < 0.4 else path


def a_table(chance: random.Random) -> tuple[list[Row], list[Row]]:
    """What is mounted before, and a table's rows."""
    disks = list(DISKS[1:])
    chance.shuffle(disks)
    before = [Row(f"/dev/vd{disks.pop()}", a_path(chance, []), "ext4", ["rw"], theirs=True)
              for _ in range(chance.choice([0, 0, 1, 1, 2]))]
    rows: list[Row] = []
    if chance.random() < 0.5:
        rows.append(Row("/dev/root", "/", "auto", [chance.choice(["ro", "rw"])], chance.choice([None, 1])))
    for number in range(chance.choice([1, 2, 2, 3, 3, 4, 5])):
        options = [chance.choice(["ro", "rw"])] + chance.choice([[], [], ["X-mount.mkdir"]])
        owner = chance.choice([None, number + 2])
        kind = chance.choice(["disk", "bind", "bind", "bind", "rbind", "tmpfs", "overlay"])
        target = a_path(chance, rows)
        if any(row.target == target for row in rows) or (kind == "disk" and not disks):
            continue
        if kind == "disk":
            rows.append(Row(f"/dev/vd{disks.pop()}", target, "ext4", options, owner))
        elif kind == "tmpfs":
            rows.append(Row("t", target, kind, options))
        elif kind == "overlay":
            rows.append(Row("tmpfs" if options[0] == "rw" else "none", target, kind, options, None, [
                Row(a_path(chance, before + rows), target, "bind", ["lower"], chance.choice([None, number + 12 + layer]))
                for layer in range(chance.choice([1, 2, 2]) + (options[0] == "ro"))]))
        else:
            rows.append(Row(a_path(chance, before + rows), target, kind, options, owner))
    return before, rows


# --- the guest ---------------------------------------------------------------------------------------------


def sh(guest, text):
    answer = guest.ask("run", "0", "0", "/bin/sh", "-c", text)
    return answer["exit"], answer["stdout"] + answer["stderr"]


def idmap(guest, *words):
    return sh(guest, f"/bin/idmap {' '.join(words)} --root /n")


def mounts(guest):
    """Without numbers, which undo need not bring back: each with the path of what it stands on."""
    lines = guest.mounts()
    targets = {mount.id: mount.target for mount in lines}
    return sorted((mount.target, targets.get(mount.parent), mount.device, mount.root, mount.options, mount.tags)
                  for mount in lines if inside(mount.target, "/n"))


def unmount_all(guest):
    while targets := sorted((mount.target for mount in guest.mounts() if inside(mount.target, "/n")), key=len):
        sh(guest, f"umount {' '.join(reversed(targets))}")
    sh(guest, "rm -f /run/idmap/apply/*")


def what_is_seen(guest):
    named, owned = sh(guest, LOOK)[1].split("\n\n")
    owner = dict(line.split() for line in owned.splitlines())
    return {file[1:-4] or "/": (what, int(owner[file]), how == "rw")
            for file, what, how in (line.split() for line in named.splitlines())}


def differences(guest, before: list[Row], rows: list[Row]) -> dict:
    root = [row for row in rows if row.target == "/"]
    model = [row for row in rows if row.target != "/"]
    # What others mounted in the tree of a row is covered by it, or stands on top; what shows that is not looked at.
    either = [theirs.target for theirs in before if any(inside(theirs.target, row.target) for row in model)]
    binds = [row for whole in model for row in [whole, *whole.layers] if "bind" in row.type]
    if any(row.type == "rbind" or (inside(row.source, path) and not inside(path, row.target))
           for row in binds for path in either):
        return {}
    model.append(Row("/dev/vdb", "/", "ext4", root[0].options if root else ["rw"], root[0].map if root else None))
    model += [row for at, row in enumerate(before) if not any(inside(row.target, later.target) for later in before[at + 1:])]
    expected, found = walk(model), what_is_seen(guest)
    return {path: (expected.get(path), found.get(path)) for path in expected.keys() | found.keys()
            if expected.get(path) != found.get(path) and not any(inside(path, theirs) for theirs in either)}


@pytest.fixture
def guest(root_tree, image, initramfs, boot, kernel):
    root = root_tree(base=0, command=True) | {"/n": Dir()}
    disks = [Disk(image(root, "erofs"))]
    for disk in DISKS:
        tree = {folder or "/": Dir(OWNER, OWNER) for folder in FOLDERS}
        tree |= {f"{folder}/.is": File(f"{disk}{folder}\n", OWNER, OWNER) for folder in FOLDERS}
        disks.append(Disk(image(tree, "ext4"), readonly=False, snapshot=True))
    initrd = initramfs(kernel, "/dev/vda / erofs\n", modules="virtio_pci,virtio_blk,erofs,ext4,overlay")
    with boot(kernel, initrd, "", disks) as running:
        yield running


@pytest.mark.every_kernel
@pytest.mark.parametrize("kernel", EVERY, indirect=True)
def test_random_tables(guest, kernel):
    chance = random.Random(f"{SEED} {kernel.name}")
    done = 0
    for number in range(TABLES):
        before, rows = a_table(chance)
        text = "".join(row.lines() for row in rows)
        theirs = "".join(f" && mount -t ext4 {row.source} /n{row.target}" for row in before)
        told = f"SEED={SEED}, table {number}:{theirs}\n{text}"
        if sh(guest, f"printf '{text}' >/run/table; mount -t ext4 /dev/vdb /n" + theirs)[0]:
            unmount_all(guest)
            continue
        was, was_whole = mounts(guest), guest.mounts()
        code, answer = idmap(guest, "apply -c /run/table")
        if code:
            assert guest.mounts() == was_whole, told + answer
        else:
            done += 1
            assert differences(guest, before, rows) == {}, told + answer
            applied = mounts(guest)
            code, answer = idmap(guest, "undo")
            assert mounts(guest) == (applied if code and "nothing is changed" in answer else was), told + answer
        unmount_all(guest)
    assert done > TABLES / 3
