"""The greedy search for neurons, and what is left after they are closed: for every stage that closes some. No torch here."""

COPIES = 5  # noisy copies over which F̄ averages its logits
BATCH = 512  # examples of L_ref, unless the configuration says otherwise
