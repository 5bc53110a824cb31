"""Four variants for dipddpm, each a file of its own."""
