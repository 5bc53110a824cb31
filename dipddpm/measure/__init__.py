"""Measurement: records, statistics, a store, instruments, and the gate. Nothing here depends on what is measured."""
