"""Benchmarks of speed, memory and growth, which ``make bench`` runs. Results are ratios, because machines differ."""
