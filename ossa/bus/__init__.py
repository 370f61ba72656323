"""The bus: messages, streams with consumer groups, channels. Redis or a server that speaks its protocol."""
