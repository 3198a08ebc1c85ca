"""What is remembered: SQLite through peewee, one writer thread."""
