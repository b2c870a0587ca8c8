"""Domains on a host: which cgroups are VMs for a hypervisor's policy, and what each may have."""
