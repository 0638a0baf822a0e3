"""What is drawn: figures, tables, the page."""
