#!/bin/bash
# SPDX-License-Identifier: MIT
# /usr/lib/dracut/modules.d/90idmap/module-setup.sh: the program, the table, and what its rows need.

check() {
    require_binaries idmap || return 1
    return 0
}

depends() {
    return 0
}

installkernel() {
    [[ -e /etc/idmap.conf || -L /etc/idmap.conf ]] || return 0
    # What is loaded while the initramfs is made says nothing of what the rows need.
    # shellcheck disable=SC2046 # a word each
    hostonly='' instmods $(idmap plan --modules -c /etc/idmap.conf --root / --initramfs)
}

install() {
    inst_multiple idmap cat
    inst_script "$moddir/idmap-apply" /usr/sbin/idmap-apply
    if [[ -e /etc/idmap.conf || -L /etc/idmap.conf ]]; then
        # A wrong table would stop the next boot; here it stops the making of the initramfs. What install returns
        # dracut passes over, and it is run in dracut's own shell.
        idmap check -c /etc/idmap.conf --root / --initramfs || {
            dfatal "idmap: /etc/idmap.conf is wrong, see the lines above"
            exit 1
        }
        inst_simple /etc/idmap.conf
    fi
    if dracut_module_included systemd; then
        # shellcheck disable=SC2154 # of dracut's own
        inst_simple "$moddir/idmap-apply.service" "$systemdsystemunitdir/idmap-apply.service"
        inst_simple "$moddir/idmap-verify.service" "$systemdsystemunitdir/idmap-verify.service"
        $SYSTEMCTL -q --root "$initdir" add-requires initrd-root-fs.target idmap-apply.service
        $SYSTEMCTL -q --root "$initdir" add-requires initrd.target idmap-verify.service
    else
        # Before those that make another root of it, by number and by name.
        inst_hook pre-pivot 00 "$moddir/idmap-pivot.sh"
        inst_hook pre-pivot 99 "$moddir/idmap-verify.sh"
    fi
}
