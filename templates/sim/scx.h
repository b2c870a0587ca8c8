/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sched_ext's kfuncs in the simulator: the very wrappers of templates/include/scx.h, which find
 * absent kfuncs at address 0 here as they do in an older kernel. Only the table of operations is
 * exchanged for the whole one.
 */
#pragma once

#define sched_ext_ops sim_unused_ops
#include "../include/scx.h"
#undef sched_ext_ops

#include "ops.h"
