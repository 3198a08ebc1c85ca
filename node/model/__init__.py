"""The nouns: values, life cycles and wire verbs. Nothing here opens a socket, a file or a database."""
