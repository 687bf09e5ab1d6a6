"""Several processes, interrupts, and how many failures a run may have."""
