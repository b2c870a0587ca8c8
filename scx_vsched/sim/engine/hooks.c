/* SPDX-License-Identifier: GPL-2.0-only */
/* Hooks that CPython computes: scx_vsched/sim/hooks.py. */
#include "api.h"

u64 sim_hook(u64 hook, const u64 *arguments)
{
	u64 failed = 0, result = sim.options->hook(hook, arguments, &failed);

	check(!failed, "hook", "a hook of %s() ended with an exception", ext_op_name(sim.op));
	return result;
}
