/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the default scheduler's model share. */
#pragma once

#include "api.h"

extern u32 fair_overloaded; /* rd->overloaded: vCPUs with more than one task */

#define MIGRATION_COST 500000ULL /* sysctl_sched_migration_cost */
#define IMBALANCE_PCT 117

enum level { LEVEL_CORE, LEVEL_LLC, LEVEL_NODE, LEVEL_ALL, NR_LEVELS };

u64 fair_weight(const struct task *t);
void fair_update_averages(struct vcpu *v);

/* fair_place.c */
s32 fair_select(struct task *t, s32 prev, u64 wake_flags);
bool fair_is_idle(u32 vcpu);

/* fair_balance.c */
extern struct cpumask *fair_domain[NR_LEVELS]; /* the vCPUs of each vCPU's domain */
void fair_domains(void);
void fair_newidle(struct vcpu *v);
void fair_tick_balance(struct vcpu *v);
void fair_idle_end(struct vcpu *v);
