"""From a stopped processor to the chain of calls that led there."""
