"""Training the 270M on the same rows with this library, KerasHub's `fit`, and PEFT."""
