"""The `ossa` command."""
