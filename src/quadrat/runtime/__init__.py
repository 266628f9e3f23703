"""What every part uses and what decides no result: parallel work, progress, files, processes, timing."""
