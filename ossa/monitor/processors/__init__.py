"""What consumes the streams: a module a processor. Each handles batches, and handling one twice changes nothing."""
