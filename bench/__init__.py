"""How fast litequeue is, measured beside what SQLite alone does in the same run.

python -m bench --help
"""
