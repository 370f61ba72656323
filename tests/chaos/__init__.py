"""`make chaos`: executions run while all that they stand on fails at random moments, and what became of them."""
