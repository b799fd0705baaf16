/* SPDX-License-Identifier: MIT */
/* The one place of the version, for idmap --version, the log and idmap.pc. */
#define IDMAP_VERSION "0.13.0"
