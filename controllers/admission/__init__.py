"""The process ossa-admission: what it refuses, by what an object itself proves and by policies, and whom it names."""
