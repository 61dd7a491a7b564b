"""What the methods are made of: what a method is (`method`), the kinds of methods (`gradient`, `layerwise`; `feedback`,
`local_classifiers` and `local_loss`, which several methods share), how they update weights (`optimizers`, `schedules`), their
`losses`, and what they report on a network's `activity`."""
