"""Text to token ids and back: the tokenizer and the turn template, shared by data and model."""
