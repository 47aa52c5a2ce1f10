"""Where tasks come from: rows of files, and small families made by rule."""
