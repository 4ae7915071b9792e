"""What a run will take, before it starts: memory, steps and time, and how right that was before."""
