"""What the reconciler does about policies: their status, native form and exceptions, scans, verdicts on what runs."""
