"""One file a view; each is run by Streamlit inside app.py."""
