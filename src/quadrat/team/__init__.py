"""Tools around the project that no stage uses: check, doctor, remotes, pins, reports, origins."""
