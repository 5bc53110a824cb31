"""Instruments: clocks, memory, FLOPs and what the machine can do."""
