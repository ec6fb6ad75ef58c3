"""The Streamlit front: a page arranges, `app.parts` draw, `d2c` computes."""
