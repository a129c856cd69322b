"""HTTP endpoints of the master: `scheduler` and `operator` (Mesos v1), `legacy` (GET endpoints)."""
