"""Speech-emotion models: a second opinion on the label of an utterance, from its audio."""
