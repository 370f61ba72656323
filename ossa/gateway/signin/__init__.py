"""Sign-in: local users, OpenID Connect, agents; access tokens, sessions, and who may add users."""
