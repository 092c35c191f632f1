"""Whether an output directory holds what it says: nothing lost, nothing invented, every file as it was written."""
