"""Evaluate: how often a classifier is right on images it has not seen, where it errs, and where it looked."""

import streamlit as st

from explorer.ui.evaluate.data import choose_images, class_names, evaluated
from explorer.ui.evaluate.result import answers_line, show_evaluation
from explorer.ui.messages import plain, show_errors
from explorer.ui.sidebar import model_only
from explorer.ui.state import chosen

model_only()
st.title("Evaluate", anchor=False)
st.write("How often a model is right on your images, where it errs, and where it looked.")
with show_errors():
    model = chosen().model
    names = class_names(model)
    st.caption(answers_line(model.name, names) if model.outputs == "classes" else plain(model.name))
    with show_errors():
        given = choose_images()
        if given:
            show_evaluation(model, given, *evaluated(model, given))
