"""The routes over what is there: executions, approvals, workflows, agents."""
