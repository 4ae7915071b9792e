"""The job queue and the child processes that do the work."""
