"""What the pipelines are built of: sources, plan, audio, ASR, entailment, shards, storage."""
