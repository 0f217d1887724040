"""What debug information says: lines, scopes, types, where variables and callers' registers are."""
