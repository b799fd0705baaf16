#!/bin/sh
# SPDX-License-Identifier: MIT
# Sourced by dracut without systemd: the root is mounted and not yet entered.

idmap-apply "$NEWROOT" || die "The root is not put together as its table says; see the line above."
