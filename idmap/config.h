/* SPDX-License-Identifier: MIT */
/*
 * The switches of Kconfig in C: if (IS_ENABLED(CONFIG_X)) keeps both sides compiled and lets the
 * compiler drop one. CONFIG_X is defined as 1 or not at all.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "generated/autoconf.h"

/* A defined switch turns `switch_1` into an extra argument, which moves the 1 to second place. */
#define IS_ENABLED(option) CONFIG_EXPAND(option)
#define CONFIG_EXPAND(value) CONFIG_PICK(CONFIG_SHIFT_##value)
#define CONFIG_PICK(shift) CONFIG_SECOND(shift 1, 0, 0)
#define CONFIG_SHIFT_1 0,
#define CONFIG_SECOND(first, second, ...) second

/* For a function that makes its only caller larger than a call of it would. */
#define noinline __attribute__((noinline))

#endif
