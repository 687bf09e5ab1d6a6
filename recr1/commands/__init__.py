"""What each sub-command does, one file a command; `recr1.cli` reads the command line and calls these."""
