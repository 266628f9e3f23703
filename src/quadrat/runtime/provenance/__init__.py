"""Where a result comes from: the run, its commit in git, its inputs in DVC."""
