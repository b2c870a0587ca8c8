/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory, failure, and random numbers: integers only, so that every machine draws the same. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

struct sim sim;
u32 sim_this_vcpu;

struct chunk {
	struct chunk *next;
	u64 padding[7]; /* what follows begins a cache line */
};

static struct chunk *chunks;

/* Zeroed and aligned to a cache line; lives until the run ends. */
void *sim_alloc(u64 size)
{
	struct chunk *chunk;

	if (posix_memalign((void **)&chunk, 64, sizeof(*chunk) + size))
		fail("out_of_memory", "%llu bytes wanted", size);
	memset(chunk, 0, sizeof(*chunk) + size);
	chunk->next = chunks;
	chunks = chunk;
	return chunk + 1;
}

void sim_free_all(void)
{
	while (chunks) {
		struct chunk *next = chunks->next;

		free(chunks);
		chunks = next;
	}
}

void fail(const char *name, const char *format, ...)
{
	va_list args;

	snprintf(sim.result.name, sizeof(sim.result.name), "%s", name);
	va_start(args, format);
	vsnprintf(sim.result.message, sizeof(sim.result.message), format, args);
	va_end(args);
	sim.result.failed = 1;
	longjmp(sim.failure, 1);
}

static u64 mix(u64 x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* A stream of its own for each @stream of the run's seed, so that one draw shifts no other. */
void random_seed(u64 state[2], u64 stream)
{
	state[0] = mix(sim.options->seed + 0x9e3779b97f4a7c15ULL * (2 * stream + 1));
	state[1] = mix(state[0] + 0x9e3779b97f4a7c15ULL) | 1;
}

/* xoroshiro128: Blackman and Vigna, "Scrambled linear pseudorandom number generators". */
u64 random_next(u64 state[2])
{
	u64 a = state[0], b = state[1], result = a + b;

	b ^= a;
	state[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
	state[1] = b << 37 | b >> 27;
	return result;
}

u64 random_below(u64 state[2], u64 bound)
{
	return bound ? (u64)((unsigned __int128)random_next(state) * bound >> 64) : 0;
}

/*
 * -ln(u / 2**32) in 1/2**24 for u in 1 to 2**32: the binary logarithm bit by bit, times ln 2.
 */
static u64 negative_log(u64 u)
{
	u32 exponent = 63 - __builtin_clzll(u);
	u64 mantissa, log2 = 0;

	if (exponent == 32)
		return 0;
	mantissa = u << (31 - exponent);
	for (u32 i = 0; i < 24; i++) {
		mantissa = mantissa * mantissa >> 31;
		log2 <<= 1;
		if (mantissa >> 32) {
			log2 |= 1;
			mantissa >>= 1;
		}
	}
	return (((u64)(32 - exponent) << 24) - log2) * 11629080ULL >> 24; /* ln 2 in 1/2**24 */
}

u64 draw(u64 state[2], u64 distribution, u64 a, u64 b)
{
	u64 u;

	switch (distribution) {
	case DIST_UNIFORM:
		return a + random_below(state, b - a + 1);
	case DIST_EXPONENTIAL:
		u = (random_next(state) >> 32) + 1;
		return (u64)((unsigned __int128)a * negative_log(u) >> 24);
	default:
		return a;
	}
}
