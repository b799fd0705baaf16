#!/bin/sh
# SPDX-License-Identifier: MIT
# Sourced by dracut without systemd: by now others have mounted in the root, such as its fstab's /usr, or made another
# one of it.

idmap apply --verify --root "$NEWROOT" || die "The root is not as its table says any more; see the line above."
