#!/bin/sh
# SPDX-License-Identifier: MIT
# Sourced by dracut without systemd: what the root's fstab has of /usr is mounted by now.

idmap-apply "$NEWROOT" again || die "The root is not as its table says any more; see the line above."
