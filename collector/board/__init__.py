"""The enrollment status page in the terminal."""
