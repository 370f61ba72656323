"""The client of the gateway, synchronous and asynchronous."""
