"""The loss, the optimizer, the one training loop, and durable checkpoints."""
