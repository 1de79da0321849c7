"""What was read is kept, so that a run goes on where it was stopped."""
