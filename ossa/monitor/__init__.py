"""What watches and keeps: the recorder of resources, the processors of events, alerts."""
