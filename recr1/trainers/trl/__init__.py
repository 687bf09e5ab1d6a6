"""How a trainer of TRL is built and run."""
