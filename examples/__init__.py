"""Small applications that use litequeue."""
