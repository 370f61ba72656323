"""Pure decisions: the graph, the expressions, the state machine. Nothing here does I/O or reads a clock."""
