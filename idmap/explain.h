/* SPDX-License-Identifier: MIT */
/*
 * Messages with and without CONFIG_EXPLAIN. Words are half of what the program weighs, so a build
 * for the smallest of images says only where and in which step something failed, with the number
 * of the error. The callers write the whole message either way.
 */
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "config.h"
#include "idmap.h"

#define idmap_table_error(table, place, column, ...)                    \
	(IS_ENABLED(CONFIG_EXPLAIN)                                     \
		 ? idmap_table_error(table, place, column, __VA_ARGS__) \
		 : idmap_table_error(table, place, column, "%s", "not understood"))

#define idmap_row_fail(ret_error, row, class, error, ...)                                       \
	(IS_ENABLED(CONFIG_EXPLAIN) ? idmap_row_fail(ret_error, row, class, error, __VA_ARGS__) \
				    : idmap_row_fail(ret_error, row, class, error, "%s: %s",    \
						     __func__, idmap_errno_text(error)))

#define idmap_fail(ret_error, class, error, ...)                                              \
	(IS_ENABLED(CONFIG_EXPLAIN) ? idmap_fail(ret_error, class, error, __VA_ARGS__)        \
				    : idmap_fail(ret_error, class, error, "%s: %s", __func__, \
						 idmap_errno_text(error)))

#endif
