"""The API server: client, watches, the pods that we build, and the queue that orders the work."""
