"""kopf handlers, one module a kind: they see an event, put a key into a queue, and a worker carries decisions out."""
