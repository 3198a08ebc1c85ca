"""What does a task find in its folder, and how does it get there?"""
