"""The origin of results: the run, its commit in git, its inputs in DVC."""
