"""From a request to exactly one Execution, whatever dies in between."""
