"""`scx_vsched lab`: schedulers side by side in VMs whose vCPUs a host shapes."""
