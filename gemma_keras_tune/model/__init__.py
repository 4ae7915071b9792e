"""Weights from many sources as one pytree, the forward pass, and the adapters beside it."""
