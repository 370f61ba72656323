"""PostgreSQL: migrations, rows, and the queries that exist."""
