"""The gateway: REST, WebSocket, sign-in. It acts as its own service account, for a person that it names."""
