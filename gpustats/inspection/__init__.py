"""What would be read, and how, before a long run."""
