"""Events over WebSocket: one reader of the stream a replica, and as many sockets as there are clients."""
