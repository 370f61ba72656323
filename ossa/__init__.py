"""OSSA on Kubernetes: agents, workflows and executions as resources."""
