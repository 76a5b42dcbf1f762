"""The version of litequeue."""

VERSION = "0.1.0"
