"""What is added to a trainer of TRL, one addition a file."""
