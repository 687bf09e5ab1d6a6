"""After training: what takes a trained policy into production."""
