"""What is computed. No socket, no database, no clock of its own; cv2 lives here and is only imported by child processes."""
