"""What a model scores and says: loss, accuracy, generation, and base against tuned."""
