"""The audit trail, pure: entries, their chains, and what proves them."""
