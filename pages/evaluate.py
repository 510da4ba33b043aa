"""Evaluate: how often a classifier is right on images it has not seen, where it errs, and where it looked."""

import streamlit as st

from explorer.ui.evaluate.data import choose_images, class_names, evaluated
from explorer.ui.evaluate.result import show_evaluation
from explorer.ui.messages import plain, show_errors
from explorer.ui.sidebar import model_only
from explorer.ui.state import chosen

SHOWN = 8  # class names in the line about the model

model_only()
st.title("Evaluate", anchor=False)
st.write("How often the sidebar's model is right on your images, where it errs, and where it looked.")
with show_errors():
    model = chosen().model
    names = class_names(model)
    listed = ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
    st.caption(f"{plain(model.name)} tells {len(names):,} classes apart: {plain(listed)}")
    with show_errors():
        given = choose_images()
        if given:
            show_evaluation(model, given, *evaluated(model, given))
