"""Measurement: time, memory, machine, records, their store, statistics and tables. Knows nothing of diffusion."""
