/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy language's arithmetic where C's differs: Python's division, exact comparison of
 * signed with unsigned numbers, and loops that the verifier can follow. Needs the types u32 … s64
 * and bool, and nothing of BPF: the same hooks can be compiled for the host.
 *
 * scx_vsched/policy/semantics.py is the counterpart in Python.
 */
#pragma once

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/*
 * A value of which the compiler knows nothing. Without it clang replaces a loop by a formula, or a
 * division that checks a product by an overflow test; both need 128-bit products, which BPF cannot
 * call. It also keeps a loop's bound where the verifier sees it.
 */
#define py_hide(x)                                \
	({                                        \
		typeof(x) py_value = (x);         \
		asm volatile("" : "+r"(py_value)); \
		py_value;                         \
	})

/* x // y rounds down, x % y has the sign of y; x // 0 is 0 and x % 0 is x. */

static __always_inline u32 py_div_u32(u32 x, u32 y)
{
	return y ? py_hide(x) / y : 0;
}

static __always_inline u64 py_div_u64(u64 x, u64 y)
{
	return y ? py_hide(x) / y : 0;
}

static __always_inline u32 py_mod_u32(u32 x, u32 y)
{
	return y ? py_hide(x) % y : x;
}

static __always_inline u64 py_mod_u64(u64 x, u64 y)
{
	return y ? py_hide(x) % y : x;
}

/* BPF before its fourth version divides unsigned numbers only. */
static __always_inline s64 py_div_s64(s64 x, s64 y)
{
	u64 dividend = py_hide(x < 0 ? -(u64)x : (u64)x);
	u64 divisor = y < 0 ? -(u64)y : (u64)y;
	u64 quotient;

	if (!divisor)
		return 0;
	quotient = dividend / divisor;
	if ((x < 0) == (y < 0))
		return (s64)quotient;
	return (s64)-(quotient + (quotient * divisor != dividend));
}

static __always_inline s64 py_mod_s64(s64 x, s64 y)
{
	return (s64)((u64)x - (u64)py_div_s64(x, y) * (u64)y);
}

static __always_inline s32 py_div_s32(s32 x, s32 y)
{
	return (s32)py_div_s64(x, y);
}

static __always_inline s32 py_mod_s32(s32 x, s32 y)
{
	return (s32)py_mod_s64(x, y);
}

#define PY_EXTREMA(type)                                            \
	static __always_inline type py_min_##type(type x, type y)   \
	{                                                           \
		return y < x ? y : x;                               \
	}                                                           \
	static __always_inline type py_max_##type(type x, type y)   \
	{                                                           \
		return y > x ? y : x;                               \
	}

PY_EXTREMA(u32)
PY_EXTREMA(u64)
PY_EXTREMA(s32)
PY_EXTREMA(s64)

/* The smallest number of a type is its own absolute value. */

static __always_inline s32 py_abs_s32(s32 x)
{
	return (s32)(x < 0 ? -(u32)x : (u32)x);
}

static __always_inline s64 py_abs_s64(s64 x)
{
	return (s64)(x < 0 ? -(u64)x : (u64)x);
}

/* Bits of a mask, counted without a table: BPF has no instruction for either. */

static __always_inline u32 py_bit_count(u64 mask)
{
	mask -= mask >> 1 & 0x5555555555555555ULL;
	mask = (mask & 0x3333333333333333ULL) + (mask >> 2 & 0x3333333333333333ULL);
	mask = (mask + (mask >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return mask * 0x0101010101010101ULL >> 56;
}

/* 64 where no bit is set. */
static __always_inline u32 py_lowest_bit(u64 mask)
{
	return py_bit_count((mask & -mask) - 1);
}

/* Comparisons by value where no type holds both sides. */

static __always_inline bool py_lt_s64_u64(s64 x, u64 y)
{
	return x < 0 || (u64)x < y;
}

static __always_inline bool py_le_s64_u64(s64 x, u64 y)
{
	return x < 0 || (u64)x <= y;
}

static __always_inline bool py_eq_s64_u64(s64 x, u64 y)
{
	return x >= 0 && (u64)x == y;
}

/* Trips of `for … in range(start, stop, step)`, upwards and (by -step) downwards. */

static __always_inline u64 py_trips_up_u64(u64 start, u64 stop, u64 step)
{
	return start < stop ? (stop - start - 1) / step + 1 : 0;
}

static __always_inline u64 py_trips_up_s64(s64 start, s64 stop, u64 step)
{
	return start < stop ? ((u64)stop - (u64)start - 1) / step + 1 : 0;
}

static __always_inline u64 py_trips_down_u64(u64 start, u64 stop, u64 step)
{
	return py_trips_up_u64(stop, start, step);
}

static __always_inline u64 py_trips_down_s64(s64 start, s64 stop, u64 step)
{
	return py_trips_up_s64(stop, start, step);
}
