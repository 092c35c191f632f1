"""The Beam pipelines that a user launches, one file each."""

import logging

# Before Beam is imported: what it says of absent cloud libraries while it loads is no news to a user.
logging.basicConfig(level=logging.ERROR, format="%(message)s")
