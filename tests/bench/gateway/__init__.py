"""Figures of records, bus and gateway on real servers: what `make bench-gateway` measures, a module a subject."""
