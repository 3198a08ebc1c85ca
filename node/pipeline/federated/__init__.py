"""How is something computed together by parties that do not show each other their data?"""
