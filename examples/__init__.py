"""Applications small enough to read, made with litequeue."""
