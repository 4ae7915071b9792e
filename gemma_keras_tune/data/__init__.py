"""Files to rows, rows to examples, examples to token ids, token ids to packed batches."""
