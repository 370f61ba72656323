"""The resources as pydantic models: the one source of the CRDs, the reference and the validation."""
