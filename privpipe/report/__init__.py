"""What is measured and shown with the eyes of all rooms: scores, figures, the page."""
