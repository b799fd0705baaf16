# SPDX-License-Identifier: MIT
"""Runs idmap(8): by itself, or in a mount namespace with a root to work on, below /run/r."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("O", REPOSITORY / "build"))
IDMAP = BUILD / "idmap"
MAP = "idmap=100000:0:65536"

PRELUDE = f"""set -u
idmap() {{ {IDMAP} "$@"; echo "rc $?"; }}
mounts() {{ awk '{{ print $5, $4, $6, $(NF - 2) }}' /proc/self/mountinfo | grep "^/run/" ; }}
left() {{ ls -A /run | grep -vx mount; }}
owners() {{ stat -c '%n %u:%g' "$@"; }}
records() {{ ls /run/idmap/apply | sed 's/@.*//'; }}
table() {{ printf "$@" >/run/table; }}
mount -t tmpfs run /run
mkdir /run/r
mount -t tmpfs root /run/r
mkdir -p /run/r/etc /run/r/srv /run/r/mnt /run/r/opt/app /run/r/images/app
echo data >/run/r/images/app/file
chown -R 100000:100000 /run/r
"""


def idmap(*arguments, code=0):
    done = subprocess.run([IDMAP, *arguments], capture_output=True, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


@dataclasses.dataclass
class Done:
    out: list[str]
    err: list[str]


def script(text: str, flags=("--mount",), timeout=60) -> Done:
    """Not in the namespace of whoever runs the tests, and private unless the script says otherwise."""
    done = subprocess.run(["unshare", *flags, "sh", "-c", PRELUDE + text], capture_output=True, text=True, timeout=timeout)
    return Done(done.stdout.splitlines(), done.stderr.splitlines())


def can_map():
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", PRELUDE + f"{IDMAP} mount /run/r /run/r/srv -o {MAP}"],
                           capture_output=True)
    return probe.returncode == 0
