/* SPDX-License-Identifier: MIT */
/* Numbers that are the same in every run (xorshift64), so that what fails fails again. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>

static inline uint32_t random_below(uint32_t limit)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % limit;
}

#endif
