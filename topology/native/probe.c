// SPDX-License-Identifier: GPL-2.0-only
/* scx_vsched.topology._probe: the probes as Python calls them. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "probe.h"

/* How often the caller looks for signals of which it was not woken. */
#define LOOK_NS 50000000ULL
/* After its end a thread gets so long to notice before it may leave its vCPU. */
#define GRACE_NS 5000000ULL
#define MAX_DURATION_NS (600ULL * 1000000000ULL)
#define MAX_SAMPLES 65536

/*
 * Waits for the team's end. With a signal's exception set, or past @duration_ns, the threads are
 * made to end; they all have when this returns, whatever happened.
 */
static bool supervise(struct team *team, uint64_t duration_ns)
{
	uint64_t deadline = now_ns() + duration_ns + GRACE_NS;
	bool broken = false, done = false;

	while (!done) {
		uint64_t now = now_ns(), until = now + LOOK_NS;

		if (now < deadline && until > deadline)
			until = deadline;
		Py_BEGIN_ALLOW_THREADS
		if (now >= deadline)
			team_release(team);
		done = team_wait(team, until);
		Py_END_ALLOW_THREADS
		if (!broken && PyErr_CheckSignals()) {
			broken = true;
			team_stop(team);
			deadline = now_ns() + GRACE_NS;
		}
	}
	team_join(team);
	return !broken;
}

static bool fits(long long value, long long most, const char *what)
{
	if (value >= 1 && value <= most)
		return true;
	PyErr_Format(PyExc_ValueError, "%s must be from 1 to %lld, not %lld", what, most, value);
	return false;
}

static bool take_vcpu(PyObject *number, struct worker *worker)
{
	long vcpu = PyLong_AsLong(number);

	if (vcpu == -1 && PyErr_Occurred())
		return false;
	if (vcpu < 0 || vcpu >= MAX_VCPUS) {
		PyErr_Format(PyExc_ValueError, "vCPU numbers go from 0 to %d, not %ld",
			     MAX_VCPUS - 1, vcpu);
		return false;
	}
	worker->vcpu = (int)vcpu;
	return true;
}

static bool take_pair(PyObject *pair, struct worker *workers)
{
	PyObject *a, *b;

	if (!PyTuple_Check(pair)) {
		PyErr_SetString(PyExc_TypeError, "a pair is a tuple");
		return false;
	}
	return PyArg_ParseTuple(pair, "OO:pair", &a, &b) && take_vcpu(a, &workers[0]) &&
	       take_vcpu(b, &workers[1]);
}

static PyObject *floats(const double *values, uint32_t count)
{
	PyObject *tuple = PyTuple_New(count);

	for (uint32_t i = 0; tuple && i < count; i++) {
		PyObject *value = PyFloat_FromDouble(values[i]);

		if (!value)
			Py_CLEAR(tuple);
		else
			PyTuple_SET_ITEM(tuple, i, value);
	}
	return tuple;
}

static PyObject *gap_pairs(const struct gaps *gaps)
{
	PyObject *tuple = PyTuple_New(gaps->count);

	for (uint32_t i = 0; tuple && i < gaps->count; i++) {
		PyObject *pair = Py_BuildValue("KK", gaps->list[i].start_ns,
					       gaps->list[i].length_ns);

		if (!pair)
			Py_CLEAR(tuple);
		else
			PyTuple_SET_ITEM(tuple, i, pair);
	}
	return tuple;
}

/* A list of @count results, each made by @make. */
static PyObject *results(struct team *team, void *jobs, uint32_t count,
			 PyObject *(*make)(struct team *team, void *jobs, uint32_t index))
{
	PyObject *list = PyList_New(count);

	for (uint32_t i = 0; list && i < count; i++) {
		PyObject *item = make(team, jobs, i);

		if (!item)
			Py_CLEAR(list);
		else
			PyList_SET_ITEM(list, i, item);
	}
	return list;
}

static PyObject *pair_item(struct team *team, void *jobs, uint32_t index)
{
	struct worker *workers = &team->workers[2 * index];
	struct pair_result result;
	PyObject *latencies;

	pair_finish(jobs, index, &result);
	latencies = floats(result.latencies_ns, result.count);
	if (!latencies)
		return NULL;
	return Py_BuildValue("(ii)N(KK)KK", workers[0].state, workers[1].state, latencies,
			     result.active_ns[0], result.active_ns[1], result.both_ns,
			     result.elapsed_ns);
}

static PyObject *run_pairs(struct team *team, uint64_t budget_ns, uint32_t samples)
{
	struct pair *pairs = pairs_prepare(team, budget_ns, samples);
	PyObject *list = NULL;

	if (!pairs)
		return PyErr_NoMemory();
	Py_BEGIN_ALLOW_THREADS
	team_start(team);
	Py_END_ALLOW_THREADS
	if (supervise(team, START_WAIT_NS + budget_ns))
		list = results(team, pairs, team->size / 2, pair_item);
	pairs_free(pairs, team->size / 2);
	return list;
}

static PyObject *pair_probes(PyObject *self, PyObject *args)
{
	long long budget_ns, samples;
	PyObject *given, *pairs, *list = NULL;
	struct team team;
	bool good = true;

	(void)self;
	if (!PyArg_ParseTuple(args, "OLL:pair_probes", &given, &budget_ns, &samples) ||
	    !fits(budget_ns, MAX_DURATION_NS, "budget_ns") ||
	    !fits(samples, MAX_SAMPLES, "samples"))
		return NULL;
	pairs = PySequence_Fast(given, "pairs must be a sequence");
	if (!pairs)
		return NULL;
	if (PySequence_Fast_GET_SIZE(pairs) > MAX_VCPUS / 2) {
		PyErr_SetString(PyExc_ValueError, "too many pairs");
		good = false;
	} else if (!team_init(&team, 2 * (uint32_t)PySequence_Fast_GET_SIZE(pairs))) {
		PyErr_NoMemory();
		good = false;
	} else {
		for (uint32_t i = 0; good && i < team.size / 2; i++)
			good = take_pair(PySequence_Fast_GET_ITEM(pairs, i), &team.workers[2 * i]);
		if (good)
			list = run_pairs(&team, (uint64_t)budget_ns, (uint32_t)samples);
		team_free(&team);
	}
	Py_DECREF(pairs);
	return list;
}

static PyObject *watch_item(struct team *team, void *jobs, uint32_t index)
{
	struct worker *worker = &team->workers[index];
	struct watch *watch = &((struct watch *)jobs)[index];
	PyObject *gaps = gap_pairs(&watch->gaps);

	if (!gaps)
		return NULL;
	return Py_BuildValue("iKKNKKKK", worker->state, watch->start_ns, watch->end_ns, gaps,
			     watch->loops, worker->cpu_ns, watch->lost_ns,
			     watch->blip_ns ? watch->blip_squares / watch->blip_ns : 0);
}

static PyObject *run_watches(struct team *team, const struct watch *settings)
{
	struct watch *watches = watches_prepare(team, settings);
	PyObject *list = NULL;

	if (!watches)
		return PyErr_NoMemory();
	Py_BEGIN_ALLOW_THREADS
	team_start(team);
	team_open(team);
	Py_END_ALLOW_THREADS
	if (supervise(team, team->start_ns - now_ns() + settings->duration_ns))
		list = results(team, watches, team->size, watch_item);
	watches_free(watches, team->size);
	return list;
}

static PyObject *watch(PyObject *self, PyObject *args)
{
	long long duration_ns, demand, threshold_ns, period_ns;
	PyObject *given, *vcpus, *list = NULL;
	struct watch settings = {0};
	struct team team;
	bool good = true;

	(void)self;
	if (!PyArg_ParseTuple(args, "OLLLL:watch", &given, &duration_ns, &demand, &threshold_ns,
			      &period_ns) ||
	    !fits(duration_ns, MAX_DURATION_NS, "duration_ns") ||
	    !fits(threshold_ns, MAX_DURATION_NS, "threshold_ns") ||
	    !fits(period_ns, MAX_DURATION_NS, "period_ns"))
		return NULL;
	if (demand < 0 || demand >= DEMANDS)
		return PyErr_Format(PyExc_ValueError, "no such demand: %lld", demand);
	settings.demand = (enum demand)demand;
	settings.duration_ns = (uint64_t)duration_ns;
	settings.threshold_ns = (uint64_t)threshold_ns;
	settings.period_ns = (uint64_t)period_ns;
	vcpus = PySequence_Fast(given, "vcpus must be a sequence");
	if (!vcpus)
		return NULL;
	if (PySequence_Fast_GET_SIZE(vcpus) > MAX_VCPUS) {
		PyErr_SetString(PyExc_ValueError, "too many vCPUs");
	} else if (!team_init(&team, (uint32_t)PySequence_Fast_GET_SIZE(vcpus))) {
		PyErr_NoMemory();
	} else {
		for (uint32_t i = 0; good && i < team.size; i++)
			good = take_vcpu(PySequence_Fast_GET_ITEM(vcpus, i), &team.workers[i]);
		if (good)
			list = run_watches(&team, &settings);
		team_free(&team);
	}
	Py_DECREF(vcpus);
	return list;
}

static PyMethodDef methods[] = {
	{"pair_probes", pair_probes, METH_VARARGS,
	 "pair_probes(pairs, budget_ns, samples): a list, for each pair, of ((state, state), "
	 "latencies_ns, (active_ns, active_ns), both_ns, elapsed_ns)."},
	{"watch", watch, METH_VARARGS,
	 "watch(vcpus, duration_ns, demand, threshold_ns, period_ns): a list, for each vCPU, of "
	 "(state, start_ns, end_ns, ((start_ns, length_ns), ...), loops, cpu_ns, lost_ns, "
	 "blip_ns)."},
	{NULL, NULL, 0, NULL},
};

static int fill_module(PyObject *module)
{
	bool failed = PyModule_AddIntConstant(module, "OK", STATE_OK) ||
		      PyModule_AddIntConstant(module, "OFFLINE", STATE_OFFLINE) ||
		      PyModule_AddIntConstant(module, "LEFT", STATE_LEFT) ||
		      PyModule_AddIntConstant(module, "NO_THREAD", STATE_NO_THREAD) ||
		      PyModule_AddIntConstant(module, "MAX_VCPUS", MAX_VCPUS);

	return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
	{Py_mod_exec, fill_module},
	{Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
	{0, NULL},
};

static struct PyModuleDef module = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_probe",
	.m_doc = "Probes with threads pinned to vCPUs.",
	.m_methods = methods,
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__probe(void)
{
	return PyModuleDef_Init(&module);
}
