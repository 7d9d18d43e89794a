"""Reports: what a run measured, for a terminal, a page, a script, a CI server."""
