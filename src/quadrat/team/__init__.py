"""Tools around the project, used by no stage: check, doctor, remotes, pins, the report of a change."""
