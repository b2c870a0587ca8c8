/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the tasks' programs share. */
#pragma once

#include "api.h"

/* program_share.c: instructions that concern others, too */
enum step program_send(struct vcpu *v, struct task *t, const struct sim_instruction *in);
enum step program_receive(struct vcpu *v, struct task *t, const struct sim_instruction *in);
enum step program_lock(struct vcpu *v, struct task *t, const struct sim_instruction *in);
enum step program_barrier(struct vcpu *v, struct task *t, const struct sim_instruction *in);
void program_unlock(struct task *t, const struct sim_instruction *in);
