"""Real processes, real signals, broken disks: nothing lost, nothing twice at once."""
