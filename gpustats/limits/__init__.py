"""What a run may use: memory, cores, and how it is interrupted."""
