"""Tools of all parts that change no result: parallel work, progress, files, processes, timing."""
